"""What a model says of every version of every head, kept so that a run that was cut goes on."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

import qc_jax
from experiments import kept
from experiments.evidence.intervals import auc
from experiments.real_heads import heads, making
from experiments.real_heads.heads import Head
from experiments.real_heads.plan import Version
from experiments.trials import Trial, trial_of
from qc_jax.models import Model
from qc_jax.scoring import calibration, kspace
from qc_jax.scoring.answer import CLEAN
from qc_jax.scoring.conform import Conformed, conform, from_zero, to_grid
from qc_jax.scoring.copies import Copy
from qc_jax.scoring.scan import Measurement, measure, signs
from qc_jax.scoring.scores import dice, threshold
from qc_jax.scoring.spikes import Spike

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
      group, kind, cause, fraction: see `plan.Version`; `answer.CLEAN` where no source is to
        blame.
      details: of what was drawn; of local damage `region`.
      causes: probability of each source and of none, the likeliest first.
      cause_named: whether the model names one, or says that there is none.
      named_causes: those that a reader is told, see `answer.Answer`.
      sentence: what it says.
      scores, local_scores, severities: of each source, of the task as well.
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
    named_causes: list[str]
    sentence: str
    scores: dict[str, float]
    local_scores: dict[str, float]
    severities: dict[str, float]
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
        """What a reader is told: a cause, two that cannot be told apart, or none."""
        if not self.cause_named:
            return NOT_NAMED
        return " or ".join(self.named_causes) or CLEAN

    @property
    def right(self) -> bool:
        """Whether the cause is among those that are named, or none is where there is none."""
        return self.cause_named and self.cause in (self.named_causes or [CLEAN])

    @property
    def accused(self) -> bool:
        """Whether one of the sources is named."""
        return bool(self.named_causes)


@dataclasses.dataclass(frozen=True)
class Seen(Trial):
    """What is kept of a version: all that does not depend on the calibration, so that another one
    of the same weights is judged without scoring again.

    Both Dice coefficients are judged on the grid of the file.

    Attributes:
      details, own_auc, total_auc: see `Row`.
      doubts: see `doubts.doubts`.
      copies: fields of `copies.Copy`.
      spikes: fields of `spikes.Spike`; none in what was kept before they were looked for.
    """

    doubts: list[str]
    copies: list[dict[str, Any]]
    details: dict[str, Any]
    spikes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    own_auc: float | None = None
    total_auc: float | None = None


class Scored(NamedTuple):
    """A version with the maps that a model finds.

    Attributes:
      image, affine: on its own grid.
      conformed, measurement: on the grid of the model.
    """

    image: np.ndarray
    affine: np.ndarray
    conformed: Conformed
    measurement: Measurement


def score_version(model: Model, image: np.ndarray, affine: np.ndarray) -> Scored:
    """All but the maps on the grid of the file, which take longer.

    Args:
      model: any.
      image: `(X, Y, Z)` on its own grid, in RAS orientation, of any scale.
      affine: `(4, 4)`, voxels to mm.
    """
    description = model.description
    conformed = conform(image, affine, description.voxel_size, description.field_of_view)
    return Scored(image, affine, conformed, measure(model, conformed))


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
        known_by = (qc_jax.__version__, model.sha256, seed, head.name, *head.digests)
        own = kept.folder_for(folder, (), *known_by)

        @functools.cache
        def clean(head=head) -> tuple[Scored, np.ndarray]:
            scored = score_version(model, head.image, head.affine)
            return scored, _segmentation(scored, head)

        for version in versions:
            if making.possible(head, version):

                def make(head=head, version=version, clean=clean) -> dict[str, Any]:
                    return dataclasses.asdict(_seen(model, head, version, seed, clean))

                seen = Seen(**kept.load_or_make(own, version.name, make))
                yield _row(model, head, version, seen)
            advance(1)


def _seen(
    model: Model,
    head: Head,
    version: Version,
    seed: int,
    clean: Callable[[], tuple[Scored, np.ndarray]],
) -> Seen:
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
    k_space = kspace.look(from_zero(scored.image), nib.affines.voxel_sizes(scored.affine))
    seen = signs(*scored, k_space)
    reached = None if head.grey_matter is None else dice(found, head.grey_matter)
    trial = trial_of(scored.measurement, of_clean.measurement, reached, dice(found, reference))
    return Seen(
        **dataclasses.asdict(trial),
        doubts=list(seen.doubts),
        copies=[dataclasses.asdict(copy) for copy in seen.copies],
        spikes=[dataclasses.asdict(spike) for spike in seen.k_space.spikes],
        details=made.details or {},
        **areas,
    )


def _row(model: Model, head: Head, version: Version, seen: Seen) -> Row:
    meaning = calibration.interpret(
        np.array(seen.scores),
        np.array(seen.local_scores),
        seen.expected_dice,
        model.calibration,
        seen.doubts,
        [Copy(**fields) for fields in seen.copies],
        [Spike(**fields) for fields in seen.spikes],
    )
    names = ("task", *model.description.sources)
    return Row(
        head=head.name,
        person=head.person,
        stripped=head.stripped,
        group=version.group,
        kind=version.kind,
        cause=version.cause,
        fraction=version.fraction,
        details=seen.details,
        causes=meaning.causes,
        cause_named=meaning.cause_named,
        named_causes=list(meaning.named_causes),
        sentence=meaning.sentence,
        scores=dict(zip(names, seen.scores, strict=True)),
        local_scores=dict(zip(names, seen.local_scores, strict=True)),
        severities=meaning.severities,
        predicted_dice=meaning.predicted_dice,
        dice=seen.dice,
        kept_dice=seen.kept_dice,
        volume=seen.volume,
        clean_volume=seen.clean_volume,
        volume_error=model.calibration["volume"]["scale"] * seen.volume_uncertainty,
        own_auc=seen.own_auc,
        total_auc=seen.total_auc,
    )


def _segmentation(scored: Scored, head: Head) -> np.ndarray:
    """`(X, Y, Z)` bool, grey matter on the grid of the file of the head."""
    probability = scored.measurement.prediction.probabilities[..., 1]
    found = to_grid(probability, scored.conformed.affine, head.image.shape, head.affine)
    return found > threshold(scored.measurement.expected_dice)


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
