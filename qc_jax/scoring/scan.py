"""One scan through a model: maps, scores and what they mean, without touching the disk."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import nibabel as nib
import numpy as np

from qc_jax import augment, native, uncertainty
from qc_jax.data import geometry, grid, values
from qc_jax.models import Model, load_model
from qc_jax.power import power_of
from qc_jax.scoring import calibration, copies, doubts, kspace, scores
from qc_jax.scoring.conform import Conformed, conform, from_zero, to_grid
from qc_jax.scoring.sliding import Prediction, predict
from qc_jax.source_head import CELL

OVERLAP = 0.25
"""Of neighbouring patches: with instance norm a voxel depends on its patch, so several count.  On
four real heads 0.5 has a Dice coefficient 0.002 higher and takes twice the time, 0 one that is 0.05
lower."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a model says of a scan on its own grid.

    Attributes:
      prediction: probabilities and variances.
      grey_matter: `(X, Y, Z)` bool, see `scores.threshold`.
      scores: `(1 + N,)` over the head, the task first, see `scores.source_scores`.
      local_scores: `(1 + N,)`, see `scores.local_scores`.
      entropy: `(X, Y, Z)` in nats, of the scaled softmax.
      expected_dice: see `scores.expected_dice`; before calibration.
      volume: of grey matter, in mL.
      volume_uncertainty: its error bar before calibration, in mL.
    """

    prediction: Prediction
    grey_matter: np.ndarray
    scores: np.ndarray
    local_scores: np.ndarray
    entropy: np.ndarray
    expected_dice: float
    volume: float
    volume_uncertainty: float


class Signs(NamedTuple):
    """What is seen of a scan without a calibration.

    Attributes:
      doubts: see `doubts.doubts`.
      copies: see `copies.find_copies`.
      k_space: see `kspace.look`.
    """

    doubts: tuple[str, ...]
    copies: tuple[copies.Copy, ...]
    k_space: kspace.Evidence


@dataclasses.dataclass(frozen=True)
class ScanScore:
    """What a model says of a scan.  Maps on the grid of the scan are made when first asked for.

    Attributes:
      shape: of the scan, `(X, Y, Z)`.
      affine: of the scan, `(4, 4)`, to mm.
      data: the scan itself, from 0 on, axes within 45 degrees of RAS.
      data_affine: `(4, 4)`, voxels of `data` to mm.
      scores: median of the variance over the head, of the task and each source by name.
      local_scores: what the variance exceeds in a twentieth of the head, likewise.
      volume: of grey matter, in mL.
      volume_error: one standard deviation of it, in mL.
      interpretation: percentiles, causes and predicted Dice; None for a model without calibration.
      signs: what is seen of the scan without a calibration.
      warnings: what may make this score doubtful.
      conformed: the scan on the model's grid.
      measurement: the maps on the model's grid.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    data: np.ndarray
    data_affine: np.ndarray
    scores: dict[str, float]
    local_scores: dict[str, float]
    volume: float
    volume_error: float
    interpretation: calibration.Interpretation | None
    signs: Signs
    warnings: tuple[str, ...]
    conformed: Conformed
    measurement: Measurement

    @functools.cached_property
    def probability(self) -> np.ndarray:
        """Of grey matter, `(X, Y, Z)`."""
        return self.on_own_grid(self.measurement.prediction.probabilities[..., 1])

    @functools.cached_property
    def segmentation(self) -> np.ndarray:
        """`(X, Y, Z)` uint8, 1 in grey matter."""
        return (self.probability > self.threshold).astype(np.uint8)

    @functools.cached_property
    def variances(self) -> dict[str, np.ndarray]:
        """`(X, Y, Z)` in logits², of the task and of each source by name."""
        variances = np.moveaxis(self.measurement.prediction.variances, -1, 0)
        return dict(zip(self.scores, map(self.on_own_grid, variances), strict=True))

    @functools.cached_property
    def total(self) -> np.ndarray:
        """`(X, Y, Z)`, the sum of the variances."""
        return self.on_own_grid(self.measurement.prediction.variances.sum(axis=-1))

    @functools.cached_property
    def entropy(self) -> np.ndarray:
        """`(X, Y, Z)` in nats, of the scaled softmax."""
        return self.on_own_grid(self.measurement.entropy)

    @property
    def threshold(self) -> float:
        """The probability above which a voxel is segmented, see `scores.threshold`."""
        return scores.threshold(self.measurement.expected_dice)

    def on_own_grid(self, volume: np.ndarray) -> np.ndarray:
        """A map on the model's grid, on that of the scan; 0 outside the box."""
        return to_grid(volume, self.conformed.affine, self.shape, self.affine)

    def planes(self, volume: np.ndarray) -> Iterator[np.ndarray]:
        """`on_own_grid` in planes, see `grid.planes`."""
        to_volume = np.linalg.inv(self.conformed.affine) @ self.affine
        return grid.planes(volume, to_volume, self.shape)


def score(
    image: nib.spatialimages.SpatialImage,
    model: Model | None = None,
    progress: Callable[[float], None] = lambda share: None,
    warnings: Sequence[str] = (),
) -> ScanScore:
    """Scores a T1-weighted scan.

    Args:
      image: 3-D, any orientation, voxel size, data type and scale.
      model: from `load_model`; the one in the package by default.
      progress: called with the share of the network's work that is done.
      warnings: of the file that the image was read from, see `nifti.Read`.

    Raises:
      ScanError: the scan cannot be used; says why.
      CheckpointError: no model.
    """
    model = load_model() if model is None else model
    data, affine, doubtful = prepare(image)
    description, data = model.description, from_zero(data)
    power = power_of(data)
    conformed = conform(data, affine, description.voxel_size, description.field_of_view, power)
    k_space = kspace.look(data, nib.affines.voxel_sizes(affine), power)
    del power  # several times as large as the scan
    found = measure(model, conformed, progress=progress)

    names = ("task", *description.sources)
    known = model.calibration
    seen = signs(data, affine, conformed, found, k_space)
    return ScanScore(
        shape=image.shape[:3],
        affine=geometry.affine_in_mm(image),
        data=data,
        data_affine=affine,
        scores=dict(zip(names, map(float, found.scores), strict=True)),
        local_scores=dict(zip(names, map(float, found.local_scores), strict=True)),
        volume=found.volume,
        volume_error=known["volume"]["scale"] * found.volume_uncertainty if known else float("nan"),
        interpretation=interpret(model, found, seen),
        signs=seen,
        warnings=(*warnings, *doubtful, *_warnings(data, affine, conformed, found.volume)),
        conformed=conformed,
        measurement=found,
    )


def measure(
    model: Model,
    conformed: Conformed,
    overlap: float = OVERLAP,
    progress: Callable[[float], None] = lambda share: None,
) -> Measurement:
    """Maps and numbers of a scan that is on the model's grid already."""
    description = model.description
    prediction = predict(
        description.network,
        model.params,
        conformed.image,
        description.patch,
        overlap,
        mask=conformed.mask,
        k_space=conformed.k_space,
        progress=progress,
    )
    expected_dice = scores.expected_dice(prediction.probabilities[..., 1], conformed.mask)
    grey_matter = prediction.probabilities[..., 1] > scores.threshold(expected_dice)
    return Measurement(
        prediction,
        grey_matter,
        scores.source_scores(prediction.variances, conformed.mask),
        scores.local_scores(prediction.variances, conformed.mask),
        np.asarray(uncertainty.entropy(prediction.probabilities)),
        expected_dice,
        scores.grey_matter_volume(grey_matter, description.voxel_size),
        scores.volume_uncertainty(prediction.probabilities, description.voxel_size),
    )


def interpret(model: Model, found: Measurement, seen: Signs) -> calibration.Interpretation | None:
    """What the numbers of a scan mean; None for a model without calibration."""
    if not model.calibration:
        return None
    return calibration.interpret(
        found.scores,
        found.local_scores,
        found.expected_dice,
        model.calibration,
        seen.doubts,
        seen.copies,
        seen.k_space.spikes,
    )


def signs(
    data: np.ndarray,
    affine: np.ndarray,
    conformed: Conformed,
    found: Measurement,
    k_space: kspace.Evidence,
) -> Signs:
    """Looks at a scan, on its own grid and on that of the model.

    Args:
      data: `(X, Y, Z)`, the scan on its own grid, axes within 45 degrees of RAS.
      affine: `(4, 4)`, voxels of it to mm.
      conformed: the scan on the model's grid.
      found: of it.
      k_space: of it.
    """
    own, sizes = from_zero(data), nib.affines.voxel_sizes(affine)
    voxel_size = float(nib.affines.voxel_sizes(conformed.affine)[0])
    with ThreadPoolExecutor() as threads:  # numpy and scipy let others work meanwhile
        copied = threads.submit(copies.find_copies, own, sizes)
        doubtful = doubts.doubts(conformed.image, found.grey_matter, voxel_size, own, sizes)
    return Signs(doubtful, copied.result(), k_space)


def on_grid(image: np.ndarray, voxel_size: float) -> Conformed:
    """A simulated scan that is on the model's grid: head mask and intensities as for a real one."""
    affine = np.diag([voxel_size] * 3 + [1.0])
    mask = scores.head_mask(image, voxel_size)
    found = native.describe(image, [voxel_size] * 3)
    k_space = native.on_grid(found, affine, affine, image.shape, CELL)
    return Conformed(np.asarray(augment.normalise(image)), mask, affine, k_space)


def prepare(
    image: nib.spatialimages.SpatialImage,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """A scan as it is scored.

    Returns:
      The data, `(X, Y, Z)` float32, axes within 45 degrees of RAS; their affine, `(4, 4)`, in mm;
      what is doubtful about the header and the values.

    Raises:
      ScanError: the scan cannot be used; says why.
    """
    where = image.get_filename() or "the image"
    geometry.check_image(where, image)
    stored, affine = geometry.in_ras(image)
    data, doubtful = values.of_a_scan(where, stored)
    values.check_scan(where, data, affine)
    return data, affine, (*geometry.doubts(image), *doubtful)


def _warnings(
    data: np.ndarray, affine: np.ndarray, conformed: Conformed, volume: float
) -> tuple[str, ...]:
    edges = nib.affines.voxel_sizes(affine)
    extent = edges * data.shape
    found = []
    if edges.max() > 3:
        found.append(
            f"voxels of {edges.max():.2g} mm: thin cortex cannot be seen at this resolution"
        )
    if min(data.shape) < 16:
        found.append(f"only {min(data.shape)} slices along one axis")
    if extent.min() < 100:
        found.append(f"a field of view of {extent.min():.0f} mm does not hold a head")
    if conformed.mask.mean() > 0.9:
        found.append("no head stands out from the background")
    if not 200 < volume < 1500:
        found.append(f"grey matter of {volume:.0f} mL is not that of a whole head")
    return tuple(found)
