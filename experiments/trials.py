"""A trial: an artefact is put into a head, a model scores the scan, and the truth is kept with it.

Calibration, evaluation, evidence and real heads differ in the versions of a head that they make and
in what they read from the trials; what a trial is stands here.  Trials are plain numbers, so that
they are kept as JSON and go into one table with a row for each.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import polars as pl

from experiments import kept
from qc_jax import augment, data
from qc_jax.augment import Source
from qc_jax.models import Model
from qc_jax.scoring import dice
from qc_jax.scoring.calibration import MIXED, KnownScan
from qc_jax.scoring.conform import Conformed
from qc_jax.scoring.scan import OVERLAP, Measurement, measure, on_grid


class Version(NamedTuple):
    """A head as it is, or with artefacts.

    Attributes:
      artefact: name, `MIXED` for several, or None for the clean scan.
      fractions: of the way from mild to severe, 0 to 1, for each artefact that is in it.
      image: `(X, Y, Z)` in [0, 1].
      conformed: the image as the scoring sees it.
    """

    artefact: str | None
    fractions: dict[str, float]
    image: np.ndarray
    conformed: Conformed


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a model says of a version of a head, beside what is true.

    Attributes:
      scores, local_scores: `(1 + N,)`, the task first, see `scan.Measurement`.
      expected_dice: before calibration.
      volume: of grey matter in mL.
      volume_uncertainty: its error bar before calibration, in mL.
      dice: Dice coefficient of grey matter with the labels, or None without any.
      kept_dice: with the segmentation of the clean version.
      clean_volume: of grey matter in the clean version, as predicted, in mL.
    """

    scores: list[float]
    local_scores: list[float]
    expected_dice: float
    volume: float
    volume_uncertainty: float
    dice: float | None
    kept_dice: float
    clean_volume: float


@dataclasses.dataclass(frozen=True)
class Row(Trial):
    """A trial of a simulated version.

    Attributes:
      subject: whose head.
      draw: which scan of this head; the clean version of the same draw is the reference.
      artefact, fractions: see `Version`.
      seen: what else was read from the maps, by name.
    """

    subject: str
    draw: int
    artefact: str | None
    fractions: dict[str, float]
    seen: dict[str, float]


# -- Versions --------------------------------------------------------------------------------------


def simulated_versions(
    key: jax.Array,
    rng: np.random.Generator,
    clean: np.ndarray,
    sources: Sequence[Source],
    draw: int,
    draws: int,
    voxel_size: float,
) -> Iterator[Version]:
    """Of one scan: clean, with each artefact, and, of several, with a mixture of them.

    The severities of an artefact are stratified over the draws, but not alike for all artefacts in
    one draw.

    Args:
      key, rng: everything random comes from them.
      clean: `(X, Y, Z)` in [0, 1], the scan.
      sources: the artefacts.
      draw, draws: which scan of this head it is, and of how many.
      voxel_size: edge in mm.
    """
    yield Version(None, {}, clean, on_grid(clean, voxel_size))
    for i, source in enumerate(sources):
        fraction = ((draw + i) % draws + rng.uniform()) / draws
        image = np.asarray(augment.corrupt(key, clean, source, fraction))
        yield Version(source.name, {source.name: fraction}, image, on_grid(image, voxel_size))
    if len(sources) > 1:
        inside, image = mixture(key, rng, clean, sources)
        yield Version(MIXED, inside, image, on_grid(image, voxel_size))


def number_of_versions(sources: Sequence[Source]) -> int:
    """How many versions `simulated_versions` makes of a scan."""
    return 1 + len(sources) + (len(sources) > 1)


def mixture(
    key: jax.Array, rng: np.random.Generator, clean: np.ndarray, sources: Sequence[Source]
) -> tuple[dict[str, float], np.ndarray]:
    """A scan that holds each artefact with probability one half: fractions by name, and image."""
    present = rng.random(len(sources)) < 0.5
    fractions = rng.random(len(sources))
    drawn = list(zip(sources, fractions.tolist(), present, strict=True))
    severities = [s.severity(f) if p else s.none for s, f, p in drawn]
    image = augment.apply_sources(key, clean, sources, jax.numpy.asarray(severities))
    return {s.name: f for s, f, p in drawn if p}, np.asarray(image)


def randomness_of(name: str, draw: int, seed: int) -> tuple[np.random.Generator, jax.Array]:
    """Of one scan of a head: a generator, and a key that comes from it."""
    rng = generator_of(name, draw, seed)
    return rng, jax.random.fold_in(jax.random.key(seed), int(rng.integers(2**31)))


def generator_of(name: str, draw: int, seed: int) -> np.random.Generator:
    """Of one scan of a head."""
    return np.random.default_rng([seed, draw, *map(ord, name)])


# -- Trials ----------------------------------------------------------------------------------------


def trial_of(
    found: Measurement, clean: Measurement, reached: float | None, kept_dice: float
) -> Trial:
    """What was found of a version, as plain numbers.

    Args:
      found: of the version.
      clean: of the clean version of the same scan.
      reached, kept_dice: see `Trial`; by the caller, who knows on which grid they are judged.
    """
    return Trial(
        scores=found.scores.tolist(),
        local_scores=found.local_scores.tolist(),
        expected_dice=float(found.expected_dice),
        volume=float(found.volume),
        volume_uncertainty=float(found.volume_uncertainty),
        dice=reached,
        kept_dice=kept_dice,
        clean_volume=float(clean.volume),
    )


def look_at_nothing(version: Version, found: Measurement) -> dict[str, float]:
    """What else is read where the numbers of a trial are enough."""
    return {}


def rows_of(
    model: Model,
    subject: str,
    draw: int,
    versions: Iterable[Version],
    grey_matter: np.ndarray | None,
    look: Callable[[Version, Measurement], dict[str, float]] = look_at_nothing,
    overlap: float = OVERLAP,
) -> Iterator[Row]:
    """Scores the versions of a scan on the grid of the model, one after the other.

    Args:
      model: any.
      subject, draw: see `Row`.
      versions: the clean one first.
      grey_matter: `(X, Y, Z)` bool, the truth, or None where it is not known.
      look: what else is read from a version and its maps.
      overlap: of the patches; a calibration needs that of the scoring, the default.
    """
    clean: Measurement | None = None
    for version in versions:
        found = measure(model, version.conformed, overlap)
        clean = clean or found
        reached = None if grey_matter is None else dice(found.grey_matter, grey_matter)
        trial = trial_of(found, clean, reached, dice(found.grey_matter, clean.grey_matter))
        yield Row(
            **dataclasses.asdict(trial),
            subject=subject,
            draw=draw,
            artefact=version.artefact,
            fractions=version.fractions,
            seen=look(version, found),
        )


def known_scan(row: Row) -> KnownScan:
    """A row as the calibration takes it."""
    return KnownScan(
        subject=row.subject,
        artefact=row.artefact,
        fraction=max(row.fractions.values(), default=0.0),
        scores=np.array(row.scores),
        local_scores=np.array(row.local_scores),
        expected_dice=row.expected_dice,
        dice=float("nan") if row.dice is None else row.dice,
        kept=row.kept_dice,
        volume=row.volume,
        clean_volume=row.clean_volume,
        volume_uncertainty=row.volume_uncertainty,
    )


# -- What is kept ----------------------------------------------------------------------------------

Kept = TypeVar("Kept", bound=Trial)


def load_or_make(
    folder: Path, name: str, form: type[Kept], make: Callable[[], Iterable[Kept]]
) -> list[Kept]:
    """Trials that are made now, or were made before and kept in `NAME.json` of a folder.

    Raises:
      ConfigError: what was kept is damaged.
    """
    fields: list[dict[str, Any]] = kept.load_or_make(
        folder, name, lambda: [dataclasses.asdict(row) for row in make()]
    )
    return [form(**of_one) for of_one in fields]


def simulated(
    model: Model,
    subjects: Sequence[data.Subject],
    draws: int,
    versions: Callable[[data.Subject, int], Iterable[Version]],
    folder: Path,
    advance: Callable[[int], None],
    look: Callable[[data.Subject, Version, Measurement], dict[str, float]] | None = None,
) -> list[Row]:
    """The trials of all scans of all heads, made now or in an earlier call.

    Args:
      model: to score with.
      subjects: the heads.
      draws: contrasts of each of them.
      versions: of a scan, from the head and the number of the draw.
      folder: where they are kept, see `kept.folder_for`.
      advance: called with the number of trials that are done.
      look: what else is read from a version and its maps.
    """

    def make(subject: data.Subject, draw: int) -> Iterator[Row]:
        see = functools.partial(look, subject) if look else look_at_nothing
        made = versions(subject, draw)
        return rows_of(model, subject.name, draw, made, subject.labels == 1, see)

    scans = (
        (f"{subject.name}-{draw}-of-{draws}", functools.partial(make, subject, draw))
        for subject in subjects
        for draw in range(draws)
    )
    return of_scans(folder, scans, advance)


def of_scans(
    folder: Path,
    scans: Iterable[tuple[str, Callable[[], Iterable[Row]]]],
    advance: Callable[[int], None],
) -> list[Row]:
    """The trials of scan after scan, made now or kept in a folder, see `load_or_make`.

    Args:
      folder: where they are kept.
      scans: the name of each, and what makes its trials.
      advance: called after each scan with the number of its trials.
    """
    rows: list[Row] = []
    for name, make in scans:
        found = load_or_make(folder, name, Row, make)
        rows += found
        advance(len(found))
    return rows


def table(rows: Sequence[Row], names: Sequence[str]) -> pl.DataFrame:
    """One row for each trial; a number for each channel has the name of the channel in its own.

    Args:
      rows: with the clean version of each scan.
      names: of the channels, the task first.

    Returns:
      `subject, draw, artefact, dice, kept_dice, expected_dice, volume, clean_volume,
      volume_uncertainty`, `score NAME`, `local NAME`, `fraction NAME` (null where this artefact is
      not in it), and what else was seen.
    """
    plain = ("scores", "local_scores", "fractions", "seen")
    return pl.DataFrame(
        [
            {k: v for k, v in dataclasses.asdict(row).items() if k not in plain}
            | {f"score {name}": score for name, score in zip(names, row.scores, strict=True)}
            | {f"local {name}": score for name, score in zip(names, row.local_scores, strict=True)}
            | {f"fraction {name}": row.fractions.get(name) for name in names[1:]}
            | row.seen
            for row in rows
        ],
        infer_schema_length=None,
    )
