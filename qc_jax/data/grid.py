"""Volumes on a common grid: isotropic, in RAS orientation, `(X, Y, Z)` voxels, centred on a point
in world coordinates (mm)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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

    Args:
      volume: `(X, Y, Z)`.
      to_volume: `(4, 4)`, voxels of the other grid to those of the volume.
      shape: `(3,)` voxels of the other grid.
      order: of the splines; 1 is linear.
    """
    if order != 1:
        steps, offset = to_volume[:3, :3], to_volume[:3, 3]
        return ndimage.affine_transform(volume, steps, offset, tuple(shape), np.float32, order)
    found = np.empty(tuple(shape)[::-1], np.float32)
    for plane, filled in zip(planes(volume, to_volume, shape), found, strict=True):
        filled[:] = plane
    return found.T


def planes(volume: np.ndarray, to_volume: np.ndarray, shape: Sequence[int]) -> Iterator[np.ndarray]:
    """`interpolate`, linear, one plane `(Y, X)` along z after the other, as a NIfTI file has them.

    A plane stays in the cache while it is made and used; the next one takes its place.  Where the
    axes of both grids are parallel, in whichever order, it is two small matrices within the planes
    of the volume and a mean of two of these.
    """
    lined_up = _lined_up(volume, to_volume, shape)
    if lined_up is None:
        steps, offset = to_volume[:3, :3], to_volume[:3, 3]
        found = ndimage.affine_transform(volume, steps, offset, tuple(shape), np.float32, order=1)
        yield from found.T
        return
    stack, places = lined_up
    of_x, of_y, of_z = (_neighbours(at, size) for at, size in zip(places, stack.shape, strict=True))
    stack = np.ascontiguousarray(stack.T, np.float32) @ _matrix(of_x, stack.shape[0])
    stack = _matrix(of_y, stack.shape[1]).T @ stack
    plane = np.empty(stack.shape[1:], np.float32)
    for below, above, weight_below, weight_above in zip(*of_z, strict=True):
        np.multiply(stack[below], weight_below, out=plane)
        plane += stack[above] * weight_above
        yield plane


_PARALLEL = 0.01
"""Voxels by which a row of the other grid may leave a row of the volume."""


class _Neighbours(NamedTuple):
    """The two voxels on either side of places along an axis, and what each counts."""

    below: np.ndarray
    above: np.ndarray
    weight_below: np.ndarray
    weight_above: np.ndarray


def _lined_up(
    volume: np.ndarray, to_volume: np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """The volume with its axes in the order of those of another grid, and where the voxels of that
    one lie along each; None where the axes of the two are not parallel."""
    steps, offset = to_volume[:3, :3], to_volume[:3, 3]
    order = np.argmax(np.abs(steps), axis=0)
    along = steps[order, range(3)]
    rest = np.abs(steps)
    rest[order, range(3)] = 0.0
    if sorted(order) != [0, 1, 2] or (rest @ np.asarray(shape)).max() > _PARALLEL:
        return None
    places = [
        offset[axis] + step * np.arange(number)
        for axis, step, number in zip(order, along, shape, strict=True)
    ]
    return volume.transpose(order), places


def _neighbours(at: np.ndarray, size: int) -> _Neighbours:
    """Of places in voxels; outside of the `size` voxels of the axis none counts."""
    last = size - 1
    below = np.clip(np.floor(at).astype(int), 0, max(last - 1, 0))
    inside = (at >= 0) & (at <= last)
    weight = np.where(inside, at - below, 0.0).astype(np.float32)
    return _Neighbours(below, np.minimum(below + 1, last), inside - weight, weight)


def _matrix(of: _Neighbours, size: int) -> np.ndarray:
    """Linear interpolation along an axis of `size` voxels as `(size, places)`."""
    matrix = np.zeros((size, len(of.below)), np.float32)
    column = np.arange(len(of.below))
    matrix[of.below, column] += of.weight_below
    matrix[of.above, column] += of.weight_above
    return matrix


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
