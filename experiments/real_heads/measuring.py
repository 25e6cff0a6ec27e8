"""What a model says of every version of every head, kept so that a run that was cut goes on."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import qc_jax
from experiments import kept
from experiments.evidence.intervals import auc
from experiments.real_heads import heads, making
from experiments.real_heads.heads import Head
from experiments.real_heads.plan import Version
from qc_jax.models import Model
from qc_jax.scoring import calibration
from qc_jax.scoring.conform import Conformed, conform, to_grid
from qc_jax.scoring.scan import Measurement, interpret, measure
from qc_jax.scoring.scores import dice, threshold

NOT_NAMED = "not named"
"""The answer where the model says that its causes cannot be believed."""
_INSIDE, _OUTSIDE = 0.5, 0.05
"""Weights of a region that are spoilt, and that are not; what lies between is left out."""
_FEWEST = 50
"""Voxels on either side without which no map is judged."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A version of a head.

    Attributes:
      head, person: its name, and whose it is.
      stripped: whether the head is a brain alone.
      group, kind, cause, fraction: see `plan.Version`; `calibration.CLEAN` where no source is to
        blame.
      details: of what was drawn; of local damage `region`.
      causes: probability of each source and of none, the likeliest first.
      cause_named: whether the model names one.
      scores, local_scores: of the task and of each source, over the head and of its worst part.
      severities: of each source, 0 to 1.
      sentence: what the model says in words.
      predicted_dice, dice: of grey matter; the latter with the labels, on the grid of the file, or
        None.
      kept_dice: with the segmentation of the clean version, on the grid of the file.
      volume, clean_volume: of grey matter in mL, of this version and of the clean one.
      volume_error: its error bar in mL.
      own_auc, total_auc: of local damage, area under the ROC curve of the variance of its own
        source and of the total variance within the head, spoilt voxels against the others.
    """

    head: str
    person: str
    stripped: bool
    group: str
    kind: str
    cause: str
    fraction: float
    details: dict[str, Any]
    causes: dict[str, float]
    cause_named: bool
    scores: dict[str, float]
    local_scores: dict[str, float]
    severities: dict[str, float]
    sentence: str
    predicted_dice: float
    dice: float | None
    kept_dice: float
    volume: float
    clean_volume: float
    volume_error: float
    own_auc: float | None = None
    total_auc: float | None = None

    @property
    def answer(self) -> str:
        """The cause that a reader is told."""
        return next(iter(self.causes)) if self.cause_named else NOT_NAMED

    @property
    def accused(self) -> bool:
        """Whether one of the sources is named."""
        return self.answer not in (calibration.CLEAN, NOT_NAMED)


class Scored(NamedTuple):
    """What a model says of a scan.

    Attributes:
      numbers: those of a `Row` that are the model's.
      conformed, measurement: the maps on the grid of the model.
    """

    numbers: dict[str, Any]
    conformed: Conformed
    measurement: Measurement


def score_version(model: Model, image: np.ndarray, affine: np.ndarray) -> Scored:
    """What a model says of a scan; all but the maps on the grid of the file, which take longer.

    Args:
      model: with a calibration.
      image: `(X, Y, Z)` on its own grid, in RAS orientation, of any scale.
      affine: `(4, 4)`, voxels to mm.
    """
    description = model.description
    conformed = conform(image, affine, description.voxel_size, description.field_of_view)
    found = measure(model, conformed)
    meaning = interpret(model, image, affine, conformed, found)
    assert meaning is not None  # the model has a calibration
    names = ("task", *description.sources)
    numbers = {
        "causes": meaning.causes,
        "cause_named": meaning.cause_named,
        "scores": dict(zip(names, map(float, found.scores), strict=True)),
        "local_scores": dict(zip(names, map(float, found.local_scores), strict=True)),
        "severities": meaning.severities,
        "sentence": meaning.sentence,
        "predicted_dice": meaning.predicted_dice,
        "volume": found.volume,
        "volume_error": model.calibration["volume"]["scale"] * found.volume_uncertainty,
    }
    return Scored(numbers, conformed, found)


def rows_of(
    scans: Sequence[Path],
    plans: Sequence[Sequence[Version]],
    model: Model,
    seed: int,
    folder: Path,
    advance: Callable[[int], None],
) -> Iterator[Row]:
    """Every version of every head, scored now or in an earlier call.

    Args:
      scans: NIfTI files.
      plans: the versions of each of them, the clean one first.
      model: with a calibration.
      seed: of everything random.
      folder: where it is kept.
      advance: called with the number of versions that are done.

    Raises:
      ConfigError: a scan or its labels cannot be used.
    """
    for scan, versions in zip(scans, plans, strict=True):
        head = heads.read(scan)
        fields = [field.name for field in dataclasses.fields(Row)]
        known_by = (qc_jax.__version__, model.sha256, seed, head.name, *head.digests, fields)
        own = kept.folder_for(folder, (), *known_by)

        @functools.cache
        def clean(head=head) -> tuple[Scored, np.ndarray]:
            scored = score_version(model, head.image, head.affine)
            return scored, _segmentation(scored, head)

        for version in versions:
            if making.possible(head, version):

                def make(head=head, version=version, clean=clean) -> dict[str, Any]:
                    return dataclasses.asdict(_row(model, head, version, seed, clean))

                yield Row(**kept.load_or_make(own, version.name, make))
            advance(1)


def _row(
    model: Model,
    head: Head,
    version: Version,
    seed: int,
    clean: Callable[[], tuple[Scored, np.ndarray]],
) -> Row:
    of_clean, reference = clean()
    made = making.make(head, version, seed)
    scored, found = of_clean, reference
    if version.group != "clean":
        scored = score_version(model, made.image, made.affine)
        found = _segmentation(scored, head)
    areas = {}
    if made.region is not None:
        channel = 1 + model.description.sources.index(version.cause)
        areas = _areas(scored, made.region, made.affine, channel)
    return Row(
        head=head.name,
        person=head.person,
        stripped=head.stripped,
        group=version.group,
        kind=version.kind,
        cause=version.cause,
        fraction=version.fraction,
        details=made.details or {},
        dice=None if head.grey_matter is None else dice(found, head.grey_matter),
        kept_dice=dice(found, reference),
        clean_volume=of_clean.numbers["volume"],
        **scored.numbers,
        **areas,
    )


def _segmentation(scored: Scored, head: Head) -> np.ndarray:
    """`(X, Y, Z)` bool, grey matter on the grid of the file of the head."""
    probability = scored.measurement.prediction.probabilities[..., 1]
    there = to_grid(probability, scored.conformed.affine, head.image.shape, head.affine)
    return there > threshold(scored.measurement.expected_dice)


def _areas(scored: Scored, region: np.ndarray, affine: np.ndarray, channel: int) -> dict[str, Any]:
    """`own_auc` and `total_auc`; the logarithm of a variance ranks voxels as the variance does."""
    mask = scored.conformed.mask
    there = to_grid(region, affine, mask.shape, scored.conformed.affine)[mask]
    judged = (there > _INSIDE) | (there < _OUTSIDE)
    spoilt = there[judged] > _INSIDE
    if min(spoilt.sum(), (~spoilt).sum()) < _FEWEST:
        return {}
    variances = scored.measurement.prediction.variances[mask][judged]
    return {
        "own_auc": auc(spoilt, variances[:, channel]),
        "total_auc": auc(spoilt, variances.sum(axis=1)),
    }
