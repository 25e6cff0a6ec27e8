"""A scan from any file to the grid of a model, and maps back to the grid of the file.

The grid is isotropic, in RAS orientation, and has the field of view of the training: from a little
above the head downwards, centred on the head from left to right and from front to back.  Scores
are taken within this box, so that neither neck nor empty margins of a large field of view count.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from qc_jax import augment, native
from qc_jax.data import grid
from qc_jax.power import Power
from qc_jax.scoring.scores import head_mask
from qc_jax.source_head import CELL

_ABOVE_HEAD = 10.0
"""mm of air above the head, as around the label maps of the training."""
_CRANIUM = 140.0
"""mm from the top of the head downwards that say where its middle is."""


@dataclasses.dataclass(frozen=True)
class Conformed:
    """A scan on the grid of a model.

    Attributes:
      image: `(X, Y, Z)` float32 in [0, 1].
      mask: `(X, Y, Z)` bool, the head.
      affine: `(4, 4)`, voxels of the grid to mm.
      k_space: what the k-space of the scan says on its own grid, at the cells of this one.
    """

    image: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    k_space: native.OnGrid


def conform(
    data: np.ndarray,
    affine: np.ndarray,
    voxel_size: float,
    field_of_view: Sequence[int],
    power: Power | None = None,
) -> Conformed:
    """Brings a scan to the grid and scale of a model.

    Args:
      data: `(X, Y, Z)`, finite, any scale, axes within 45 degrees of RAS.
      affine: `(4, 4)`, voxels to mm.
      voxel_size: of the grid, in mm.
      field_of_view: voxels of the grid.
      power: of its k-space, from 0 on, where that is known already.
    """
    data = from_zero(np.asarray(data, np.float32))
    box_centre = centre_of_box(data, affine, voxel_size, field_of_view)
    return conform_to(data, affine, voxel_size, field_of_view, box_centre, power)


def conform_to(
    data: np.ndarray,
    affine: np.ndarray,
    voxel_size: float,
    field_of_view: Sequence[int],
    box_centre: np.ndarray,
    power: Power | None = None,
) -> Conformed:
    """As `conform`, of data `from_zero`, to a box whose middle, `(3,)` mm, is known."""
    image = grid.resample(data, affine, voxel_size, field_of_view, box_centre)
    mask = head_mask(image, voxel_size)
    grid_affine = np.diag([voxel_size] * 3 + [1.0])
    grid_affine[:3, 3] = box_centre - voxel_size * (np.asarray(field_of_view) - 1) / 2
    found = native.describe(data, np.linalg.norm(affine[:3, :3], axis=0), power)
    k_space = native.on_grid(found, affine, grid_affine, image.shape, CELL)
    return Conformed(np.asarray(augment.normalise(image)), mask, grid_affine, k_space)


def from_zero(data: np.ndarray) -> np.ndarray:
    """A scan `(X, Y, Z)` whose background is at zero: negative values, of a standardised one say,
    have it below."""
    if data.min() >= 0:  # most are, and a percentile of a whole scan takes a while
        return data
    return np.maximum(data - min(float(np.percentile(data, 0.5)), 0.0), 0.0)


def to_grid(
    volume: np.ndarray, affine: np.ndarray, shape: Sequence[int], target_affine: np.ndarray, order=1
) -> np.ndarray:
    """A map `(X, Y, Z)` on the model's grid to another grid; 0 outside the box."""
    return grid.interpolate(volume, np.linalg.inv(affine) @ target_affine, shape, order)


def centre_of_box(
    data: np.ndarray, affine: np.ndarray, voxel_size: float, field_of_view: Sequence[int]
) -> np.ndarray:
    """Where `conform` puts its box: `(3,)` mm of its middle; it begins 10 mm above the head."""
    coarse = 4.0
    extent = np.abs(affine[:3, :3]) @ np.array(data.shape)
    shape = np.maximum(np.ceil(extent / coarse).astype(int), 2)
    middle = affine[:3, :3] @ ((np.array(data.shape) - 1) / 2) + affine[:3, 3]
    overview = grid.resample(data, affine, coarse, shape, middle)
    mask = head_mask(overview, coarse)
    top = np.flatnonzero(mask.any(axis=(0, 1))).max()
    upper = mask.copy()
    upper[:, :, : max(top - round(_CRANIUM / coarse), 0)] = False
    corner = middle - coarse * (shape - 1) / 2
    sides = [np.flatnonzero(upper.any(axis=tuple({0, 1, 2} - {a}))) for a in (0, 1)]
    centre = np.array([(side.min() + side.max()) / 2 for side in sides] + [top]) * coarse + corner
    centre[2] += _ABOVE_HEAD - voxel_size * field_of_view[2] / 2
    return grid.centre_on_voxels(affine, voxel_size, field_of_view, centre)
