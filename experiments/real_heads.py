"""Does a model know artefacts in real scans?  `python -m experiments.real_heads SCAN...`

Each scan is scored as it is, and with every artefact put into it on its own grid, as a scanner
would.  Where grey-matter labels lie beside a scan, its segmentation is compared with them.
"""

import collections
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import nibabel as nib
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

import qc_jax
from experiments import command, kept
from experiments.evidence.measurements import randomness_of
from qc_jax import augment, files, scoring
from qc_jax.augment import Source
from qc_jax.data import cache, nifti, pairs
from qc_jax.errors import ConfigError
from qc_jax.models import Model, load_model
from qc_jax.scoring import calibration
from qc_jax.scoring.conform import from_zero


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Scores real scans as they are and with artefacts; says how often the cause is named rightly.

    Labels are 1 in grey matter, or FreeSurfer's numbers. Called again, it goes on where it stopped.
    """

    scans: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...", help_behavior_hint="")]
    ]
    """NIfTI files of clean heads; NAME_label.nii.gz beside NAME.nii.gz gives the Dice as well."""
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    fractions: tuple[float, ...] = (0.6, 0.9)
    """Severities of each artefact, from 0 (mild) to 1 (severe)."""
    draws: int = 1
    """How often each is put in, at another place or along another axis."""
    seed: int = 1
    """Of everything random."""
    output_dir: Path = Path("runs/real_heads")
    """Folder for real_heads.json and the scores of each version of a scan."""


class Head(NamedTuple):
    """A scan that counts as clean.

    Attributes:
      name: of its file.
      image: `(X, Y, Z)` in [0, 1], in RAS orientation.
      affine: `(4, 4)`, voxels to mm.
      grey_matter: `(X, Y, Z)` bool, or None where it is not known.
      digests: SHA-256 of its file, and of that of its labels.
    """

    name: str
    image: np.ndarray
    affine: np.ndarray
    grey_matter: np.ndarray | None
    digests: tuple[str, ...]


class Version(NamedTuple):
    """A scan as it is, or with one artefact.

    Attributes:
      source: the artefact, or None.
      fraction: of the way from mild to severe.
      draw: another place or another axis for each number.
    """

    source: Source | None = None
    fraction: float = 0.0
    draw: int = 0

    @property
    def name(self) -> str:
        """Of the file where its scores are kept."""
        return f"{self.source.name}-{self.fraction:g}-{self.draw}" if self.source else "clean"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.real_heads", arguments)


def run(arguments: Arguments) -> None:
    """Scores, writes `real_heads.json` and prints the tables."""
    model = load_model(arguments.model or None)
    if not model.calibration:
        raise ConfigError(f"{model.path} has no calibration, so that it names no cause")
    if not arguments.scans:
        raise ConfigError("no scan is given; name NIfTI files of heads without artefacts")
    if not all(0 <= fraction <= 1 for fraction in arguments.fractions):
        raise ConfigError(f"--fractions {arguments.fractions} do not all lie in [0, 1]")
    cache.use_compilation_cache()
    versions = [Version()] + [
        Version(source, fraction, draw)
        for source in augment.ALL_SOURCES
        if source.name in model.description.sources
        for fraction in arguments.fractions
        for draw in range(arguments.draws)
    ]
    found = scored(arguments.scans, versions, model, arguments.seed, arguments.output_dir)
    number = len(arguments.scans) * len(versions)
    rows = list(track(found, "scans", number, console=Console(stderr=True)))
    content = {"model_sha256": model.sha256, "seed": arguments.seed, "scans": rows}
    files.write_json(arguments.output_dir / "real_heads.json", content)
    for part in (table_of_clean(rows), table_of_artefacts(rows), in_one_sentence(rows)):
        Console().print(part)


def scored(
    scans: Sequence[Path],
    versions: Sequence[Version],
    model: Model,
    seed: int,
    folder: Path,
) -> Iterator[dict[str, Any]]:
    """What the model says of every version of every scan, now or in an earlier call.

    Args:
      scans: NIfTI files.
      versions: of each of them.
      model: with a calibration.
      seed: of everything random.
      folder: where it is kept.

    Raises:
      ConfigError: a scan or its labels cannot be used.
    """
    for scan in scans:
        head = read(scan)
        known_by = (qc_jax.__version__, model.sha256, seed, *head.digests)
        own = kept.folder_for(folder / "scans", (), *known_by)
        for version in versions:

            def make(head=head, version=version) -> dict[str, Any]:
                return score(model, head, version, seed)

            yield kept.load_or_make(own, version.name, make)


def read(scan: Path) -> Head:
    """A scan, and its labels where they lie beside it.

    Raises:
      ConfigError: one of them cannot be used.
    """
    label = pairs.label_beside(scan)
    if label:
        data, grey_matter, affine = pairs.read_labelled(scan, label)
    else:
        (data, affine), grey_matter = nifti.read_volume(scan), None
    nifti.check_scan(scan, data, affine)
    image = np.asarray(augment.rescale(from_zero(data)))
    digests = tuple(files.sha256(path) for path in (scan, label) if path)
    return Head(scan.name, image, affine, grey_matter, digests)


def score(model: Model, head: Head, version: Version, seed: int) -> dict[str, Any]:
    """A version of a scan in numbers, for JSON; the Dice coefficient is on the grid of the file."""
    image = head.image
    if version.source:
        _, key = randomness_of(head.name, version.draw, seed)
        image = np.asarray(augment.corrupt(key, image, version.source, version.fraction))
    found = scoring.score(nib.Nifti1Image(image, head.affine), model)
    meaning, truth = found.interpretation, head.grey_matter
    assert meaning is not None  # the model has a calibration
    return {
        "scan": head.name,
        "artefact": version.source.name if version.source else calibration.CLEAN,
        "fraction": version.fraction,
        "cause": next(iter(meaning.causes)),
        "cause_named": meaning.cause_named,
        "scores": found.scores,
        "predicted_dice": meaning.predicted_dice,
        "dice": None if truth is None else scoring.dice(found.segmentation == 1, truth),
        "volume": found.volume,
    }


def table_of_clean(rows: Sequence[dict[str, Any]]) -> Table:
    """The scans as they are."""
    table = Table("scan", "cause", "task", "Dice predicted", "reached", "grey matter (mL)")
    table.title = "Real heads as they are"
    for row in rows:
        if row["artefact"] == calibration.CLEAN:
            cause = row["cause"] if row["cause_named"] else f"({row['cause']})"
            reached = "" if row["dice"] is None else f"{row['dice']:.2f}"
            task, predicted = f"{row['scores']['task']:.2g}", f"{row['predicted_dice']:.2f}"
            volume = f"{row['volume']:.0f}"
            table.add_row(row["scan"], cause, task, predicted, reached, volume)
    table.caption = "in brackets: not named, its task score is beyond those of simulated scans"
    return table


def table_of_artefacts(rows: Sequence[dict[str, Any]]) -> Table:
    """Every artefact at every severity: causes, and how much its own and the other scores rise."""
    table = Table(title="Artefacts put into real heads; scores over those of the clean scan")
    table.add_column("put in", no_wrap=True)
    for column in ("right", "taken for", "own score", "other", "Dice predicted", "reached"):
        table.add_column(column)
    table.caption = "other: largest rise of another source; Dice: of the scans with labels, if any"
    clean = {row["scan"]: row for row in rows if row["artefact"] == calibration.CLEAN}
    groups = collections.defaultdict(list)
    for row in rows:
        if row["artefact"] != calibration.CLEAN:
            groups[row["artefact"], row["fraction"]].append(row)
    for (artefact, fraction), group in groups.items():
        wrong = collections.Counter(r["cause"] for r in group if r["cause"] != artefact)
        rises = [
            {
                name: score / clean[row["scan"]]["scores"][name]
                for name, score in row["scores"].items()
            }
            for row in group
        ]
        own = np.exp(np.mean([np.log(rise[artefact]) for rise in rises]))
        others = [rise[name] for rise in rises for name in rise if name not in ("task", artefact)]
        labelled = [row for row in group if row["dice"] is not None]
        table.add_row(
            f"{artefact} {fraction:g}",
            f"{len(group) - wrong.total()} of {len(group)}",
            ", ".join(f"{name} {number}" for name, number in wrong.most_common()),
            f"{own:.1f}",
            f"{max(others):.1f}",
            f"{np.mean([row['predicted_dice'] for row in labelled or group]):.2f}",
            f"{np.mean([row['dice'] for row in labelled]):.2f}" if labelled else "",
        )
    return table


def in_one_sentence(rows: Sequence[dict[str, Any]]) -> str:
    """How often the cause was right with an artefact, and how well the Dice was predicted."""
    bad = [row for row in rows if row["artefact"] != calibration.CLEAN]
    right = sum(row["cause"] == row["artefact"] for row in bad)
    errors = [abs(r["predicted_dice"] - r["dice"]) for r in rows if r["dice"] is not None]
    return f"cause right in {right} of {len(bad)} scans with an artefact" + (
        f"; Dice predicted to {np.mean(errors):.3f} on average over {len(errors)} scans with labels"
        if errors
        else ""
    )


if __name__ == "__main__":
    sys.exit(main())
