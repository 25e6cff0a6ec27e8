"""A study with everything that befalls one: `python -m experiments.mixed_study SCANS --labels=MAP`

A BIDS data set of thirty scans, to see what `keep`, `look` and `drop` make of them: clean heads,
each of six artefacts mild, moderate and severe on the grid of the file, two T2-weighted scans among
the T1-weighted ones, and a baby.  `participants.tsv` has what was done to each, and two sites, so
that the page of the study can be grouped by either.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import nibabel as nib
import numpy as np
import tyro

from experiments import command
from experiments.real_heads import heads, making
from experiments.real_heads.plan import Version
from qc_jax import files
from qc_jax.data import label_maps
from qc_jax.errors import ConfigError

KINDS = ("motion", "spike", "noise", "ghosting", "blur", "fold_over")
SEVERITIES = {"mild": 1 / 6, "moderate": 1 / 2, "severe": 5 / 6}
"""The middle of each third."""
_CLEAN, _NO_SEVERITY = 9, "n/a"
_LABEL_GRID = (192, 240, 240)
"""Voxels of 1 mm around a label map."""
_BRIGHTEST = 1000
_NOISE = 0.02
"""Standard deviation of the noise of a drawn scan, as a share of its brightest tissue."""


class Contrast(NamedTuple):
    """A kind of scan that is drawn from a label map.

    Attributes:
      means: intensity of each of `tissues.TISSUES`.
      voxel_size: in mm; that of the label map is 1, so that less makes a smaller head.
    """

    means: tuple[float, ...]
    voxel_size: float


CONTRASTS = {
    "T2": Contrast((0.01, 1.0, 0.55, 0.38, 0.1, 0.35, 0.75, 0.42), 1.0),
    # White matter without myelin is darker than grey matter, and a head has 35 cm around in the
    # place of 56.
    "baby": Contrast((0.01, 0.25, 0.62, 0.45, 0.12, 0.5, 0.9, 0.68), 0.63),
}


class Scan(NamedTuple):
    """A scan of the study: what was done to it and how much of it, n/a where that is none; see
    `making.Made`."""

    what: str
    severity: str
    image: np.ndarray
    affine: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Makes a BIDS data set of thirty scans: clean, spoilt, of another contrast, and a baby."""

    scans: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...", help_behavior_hint="")]
    ]
    """NIfTI files of clean heads, or folders of them, which take turns."""
    labels: Path
    """Label map with FreeSurfer's numbers, which T2-weighted scans and the baby are drawn from."""
    output_dir: Path = Path("runs/mixed_study")
    """Folder for the data set."""
    seed: int = 1
    """Of everything random."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.mixed_study", arguments)


def run(arguments: Arguments) -> None:
    """Writes the data set and says how it is scored."""
    output = arguments.output_dir
    if output.exists() and any(output.iterdir()):
        raise ConfigError(f"{output} is there already; remove it, or name another --output-dir")
    found = heads.find(arguments.scans)
    fractions = label_maps.read_label_map(arguments.labels, 1.0, _LABEL_GRID)
    about = {"Name": "A study with everything that befalls one", "BIDSVersion": "1.10.0"}
    files.write_json(output / "dataset_description.json", about)
    rows = ["participant_id\tsite\tspoilt_by\tseverity"]
    for number, scan in enumerate(scans(found, fractions, arguments.seed), 1):
        subject = f"sub-{number:02d}"
        stored = np.clip(scan.image / np.percentile(scan.image, 99.9), 0, 4) * _BRIGHTEST
        image = nib.Nifti1Image(np.rint(stored).astype(np.int16), scan.affine)
        image.header.set_xyzt_units("mm")
        path = output / subject / "anat" / f"{subject}_T1w.nii.gz"
        files.write_whole(path, image.to_filename)
        site = ("north", "south")[number % 2]
        rows.append(f"{subject}\t{site}\t{scan.what}\t{scan.severity}")
        print(path, scan.what, scan.severity, flush=True)
    files.write_text(output / "participants.tsv", "\n".join(rows) + "\n")
    print(f"qc-jax {output} {output}_qc participant && qc-jax {output} {output}_qc group")


def scans(paths: list[Path], fractions: np.ndarray, seed: int) -> Iterator[Scan]:
    """The scans of the study, each head in its turn.

    Args:
      paths: of clean heads.
      fractions: `(X, Y, Z, T)` uint8, of the tissues of a head, see `tissues`.
      seed: of everything random.
    """
    versions = [("nothing", _NO_SEVERITY, Version())] * _CLEAN
    for kind in KINDS:
        for turn, (word, fraction) in enumerate(SEVERITIES.items()):
            versions.append((kind, word, Version("kinds", kind, fraction, turn)))
    for number, (what, severity, version) in enumerate(versions):
        made = making.make(heads.read(paths[number % len(paths)]), version, seed)
        yield Scan(what, severity, made.image, made.affine)
    for number, what in enumerate(("T2", "T2", "baby")):
        rng = np.random.default_rng([seed, number])
        yield drawn(rng, fractions, what)


def drawn(rng: np.random.Generator, fractions: np.ndarray, what: str) -> Scan:
    """A scan of one of `CONTRASTS`, with noise, from `(X, Y, Z, T)` uint8 fractions of tissues."""
    contrast = CONTRASTS[what]
    image = fractions.astype(np.float32) @ np.array(contrast.means, np.float32) / 255
    noise = _NOISE * rng.standard_normal((2, *image.shape), np.float32)
    affine = np.diag([contrast.voxel_size] * 3 + [1.0])
    affine[:3, 3] = -contrast.voxel_size * (np.array(image.shape) - 1) / 2
    return Scan(what, _NO_SEVERITY, np.hypot(image + noise[0], noise[1]), affine)


if __name__ == "__main__":
    sys.exit(main())
