"""Volumes on a common grid: isotropic, in RAS orientation, `(X, Y, Z)` voxels, centred on a point
in world coordinates (mm)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    voxel_size: float,
    field_of_view: Sequence[int],
    centre: np.ndarray,
) -> np.ndarray:
    """Brings a volume to a grid: averages over the new voxel and interpolates.

    Args:
      data: `(X, Y, Z)`.
      affine: of the data, `(4, 4)`, axes within 45 degrees of RAS.
      voxel_size: of the grid, in mm.
      field_of_view: voxels of the grid.
      centre: of the grid, in world coordinates (mm).

    Returns:
      float32 of shape `field_of_view`; 0 outside the data.
    """
    to_data, sizes = _grid_in_data(affine, voxel_size, field_of_view, centre)
    data = ndimage.uniform_filter(data, sizes)
    return interpolate(data, to_data, field_of_view)


def centre_on_voxels(
    affine: np.ndarray, voxel_size: float, field_of_view: Sequence[int], centre: np.ndarray
) -> np.ndarray:
    """Moves a grid by at most half a voxel of the data, so that its first voxel needs no
    interpolation, nor does any other where its voxels are whole multiples of those of the data.

    A grid between the voxels would blur one scan, and take its noise away, and another not.

    Args:
      affine: of the data, `(4, 4)`, axes within 45 degrees of RAS.
      voxel_size: of the grid, in mm.
      field_of_view: voxels of the grid.
      centre: of the grid, in world coordinates (mm).

    Returns:
      The new centre.
    """
    first = _grid_in_data(affine, voxel_size, field_of_view, centre)[0][:3, 3]
    # Rounded so that rounding errors decide nothing where the grid lies half-way.
    return centre + affine[:3, :3] @ (np.floor(first + 0.499) - first)


def interpolate(
    volume: np.ndarray, to_volume: np.ndarray, shape: Sequence[int], order: int = 1
) -> np.ndarray:
    """A volume at the voxels of another grid, float32; 0 outside it.

    Where the axes of both are parallel, linear interpolation is that of one axis after the other,
    which takes a sixth of the time.

    Args:
      volume: `(X, Y, Z)`.
      to_volume: `(4, 4)`, voxels of the other grid to those of the volume.
      shape: `(3,)` voxels of the other grid.
      order: of the splines; 1 is linear.
    """
    steps, offset = to_volume[:3, :3], to_volume[:3, 3]
    across = np.abs(steps - np.diag(np.diag(steps))) @ np.asarray(shape)
    if order != 1 or across.max() > _PARALLEL:
        return ndimage.affine_transform(volume, steps, offset, tuple(shape), np.float32, order)
    found = volume.astype(np.float32, copy=False)
    # The axis that grows most comes last, when the others have their final size anyway.
    for axis in np.argsort(np.asarray(shape) / volume.shape):
        at = offset[axis] + steps[axis, axis] * np.arange(shape[axis])
        found = _along(found, at, int(axis))
    return found


_PARALLEL = 0.01
"""Voxels by which a row of the other grid may leave a row of the volume."""


def _along(volume: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation at some places of an axis, in voxels; 0 outside."""
    last = volume.shape[axis] - 1
    below = np.clip(np.floor(at).astype(int), 0, max(last - 1, 0))
    inside = (at >= 0) & (at <= last)
    weight = np.where(inside, at - below, 0.0).astype(np.float32)
    form = [-1 if a == axis else 1 for a in range(3)]
    found, above = volume.take(below, axis), volume.take(np.minimum(below + 1, last), axis)
    found *= (inside - weight).reshape(form)  # in place: memory that is new takes its time
    above *= weight.reshape(form)
    found += above
    return found


def _grid_in_data(affine, voxel_size, field_of_view, centre) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a grid to voxels of the averaged data, `(4, 4)`, and over how many it is averaged
    along each axis."""
    grid_affine = np.diag([voxel_size] * 3 + [1.0])
    grid_affine[:3, 3] = centre - voxel_size * (np.asarray(field_of_view) - 1) / 2
    to_data = np.linalg.inv(affine) @ grid_affine
    steps = np.abs(to_data[:3, :3]).max(axis=1)
    sizes = np.maximum(np.rint(steps).astype(int), 1)
    # A window of an even size lies half a voxel before its centre.
    to_data[:3, 3] += 0.5 * (sizes % 2 == 0)
    return to_data, sizes


def centre_of_box(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World coordinates (mm) of the middle of a mask's bounding box."""
    corners = np.argwhere(mask)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return affine[:3, :3] @ middle + affine[:3, 3]
