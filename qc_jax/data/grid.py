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
    return ndimage.affine_transform(
        data, to_data[:3, :3], to_data[:3, 3], tuple(field_of_view), np.float32, order=1
    )


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
