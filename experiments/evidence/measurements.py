"""Every scan of the evidence, scored once: what was put in, what was read out, what is true."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from experiments import kept
from experiments.evaluate import mixture, with_each
from experiments.evidence import iqms
from qc_jax import data
from qc_jax.augment import Source
from qc_jax.augment.tissues import TISSUES
from qc_jax.models import Model
from qc_jax.scoring.calibration import MIXED, interpret
from qc_jax.scoring.scan import Measurement, measure, on_grid
from qc_jax.scoring.scores import dice, source_scores


@dataclasses.dataclass(frozen=True)
class Row:
    """One scan.

    Attributes:
      subject: whose.
      draw: which contrast of this subject; the clean scan of the same draw is the reference.
      artefact: name, `MIXED`, or None for the clean scan.
      fractions: of the way from mild to severe for each artefact that is in it.
      scores: `(1 + N,)`, the task first.
      expected_dice: see `scores.expected_dice`.
      predicted_dice, cause: by the model's calibration on other subjects; the likeliest cause.
      percentiles: of each source's score within the clean reference scans.
      softmax_entropy: mean over the head, of the same network's plain softmax.
      entropy: mean over the head, of the softmax scaled by the variance.
      border: as `scores`, but within 2 voxels of the true border of grey matter.
      dice: reached.
      volume, volume_uncertainty: of grey matter, in mL; the latter before calibration.
      snr, cnr, efc: see `iqms`.
    """

    subject: str
    draw: int
    artefact: str | None
    fractions: dict[str, float]
    scores: np.ndarray
    expected_dice: float
    predicted_dice: float
    cause: str
    percentiles: dict[str, float]
    softmax_entropy: float
    entropy: float
    border: np.ndarray
    dice: float
    volume: float
    volume_uncertainty: float
    snr: float
    cnr: float
    efc: float


def simulated(
    model: Model,
    subjects: Sequence[data.Subject],
    sources: Sequence[Source],
    draws: int,
    seed: int,
    folder: Path,
    advance: Callable[[int], None],
) -> list[Row]:
    """Each subject and contrast: clean, with each artefact, and with a mixture.

    Severities of single artefacts are stratified over their range; a mixture holds each artefact
    with probability one half.  What was measured is kept in a folder, see `kept.folder_for`.
    """
    rows = []
    for subject in subjects:
        for draw in range(draws):

            def make(subject=subject, draw=draw) -> list[dict[str, Any]]:
                rng, key = randomness_of(subject.name, draw, seed)
                clean = subject.draw(key)
                versions = _versions(key, clean, sources, draw, draws, rng)
                return [_numbers(_row(model, subject, draw, *version)) for version in versions]

            found = kept.load_or_make(folder, f"{subject.name}-{draw}-of-{draws}", make)
            rows += [_row_of(numbers) for numbers in found]
            advance(len(found))
    return rows


def _numbers(row: Row) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"scores": row.scores.tolist(), "border": row.border.tolist()}


def _row_of(numbers: dict[str, Any]) -> Row:
    arrays = {name: np.array(numbers[name]) for name in ("scores", "border")}
    return Row(**(numbers | arrays))


def randomness_of(name: str, draw: int, seed: int) -> tuple[np.random.Generator, jax.Array]:
    """Of one contrast of a subject: a generator, and a key that comes from it."""
    rng = np.random.default_rng([seed, draw, *map(ord, name)])
    return rng, jax.random.fold_in(jax.random.key(seed), int(rng.integers(2**31)))


def _versions(
    key, clean, sources, draw, draws, rng
) -> Iterator[tuple[str | None, dict[str, float], np.ndarray]]:
    yield None, {}, clean
    for name, fraction, bad in with_each(key, rng, clean, sources, draw, draws):
        yield name, {name: fraction}, bad
    inside, mixed = mixture(key, rng, clean, sources)
    yield MIXED, inside, mixed


def _row(
    model: Model,
    subject: data.Subject,
    draw: int,
    artefact: str | None,
    fractions: dict[str, float],
    image: np.ndarray,
) -> Row:
    conformed = on_grid(image, model.description.voxel_size)
    found: Measurement = measure(model, conformed)
    grey, white, air = tissues_of(subject)
    variances, inside = found.prediction.variances, conformed.mask
    total = variances.sum(axis=-1)
    probability = found.prediction.probabilities
    entropy = -np.sum(probability * np.log(np.maximum(probability, 1e-12)), axis=-1)
    meaning = interpret(found.scores, found.local_scores, found.expected_dice, model.calibration)
    near = _border(subject.labels == 1) & (total > 0)
    return Row(
        subject=subject.name,
        draw=draw,
        artefact=artefact,
        fractions=fractions,
        scores=found.scores,
        expected_dice=found.expected_dice,
        predicted_dice=meaning.predicted_dice,
        cause=next(iter(meaning.causes)),
        percentiles=meaning.percentiles,
        softmax_entropy=float(found.prediction.softmax_entropy[inside].mean()),
        entropy=float(entropy[inside].mean()),
        border=source_scores(variances, near),
        dice=dice(found.grey_matter, subject.labels == 1),
        volume=found.volume,
        volume_uncertainty=found.volume_uncertainty,
        snr=iqms.snr(image, white),
        cnr=iqms.cnr(image, grey, white, air),
        efc=iqms.efc(image),
    )


def tissues_of(subject: data.Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of grey matter, white matter and air, where each is as pure as it gets."""
    names = ("grey_matter", "white_matter", "air")
    fractions = [subject.fractions[..., TISSUES.index(name)] for name in names]
    return tuple(fraction >= 0.9 * fraction.max() for fraction in fractions)


def _border(mask: np.ndarray) -> np.ndarray:
    """Voxels within two of the surface of a mask."""
    return ndimage.binary_dilation(mask, iterations=2) & ~ndimage.binary_erosion(mask, iterations=2)
