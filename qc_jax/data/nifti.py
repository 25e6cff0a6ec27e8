"""Reading NIfTI volumes, refusing what is none, and bringing them to a common grid.

A grid is isotropic, in RAS orientation, `(X, Y, Z)` voxels, centred on a point in world
coordinates (mm).
"""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from qc_jax.errors import ConfigError

SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """By its name."""
    return path.name.endswith(SUFFIXES)


def stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 3-D volume.

    Returns:
      The data in RAS orientation, `(X, Y, Z)` float32, and the affine, `(4, 4)`, in mm.

    Raises:
      ConfigError: not readable, not 3-D, or values or affine not finite.
    """
    try:
        image = nib.as_closest_canonical(nib.load(path, mmap=False))
        data = np.asarray(image.dataobj, np.float32)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist") from error
    except Exception as error:  # nibabel raises a dozen types for what is no image
        raise ConfigError(f"{path} cannot be read as NIfTI: {error}") from error
    data = data.reshape(data.shape[:3]) if data.shape[3:] == (1,) * (data.ndim - 3) else data
    if data.ndim != 3 or min(data.shape) < 2:
        raise ConfigError(f"{path} has shape {data.shape}; a 3-D volume is needed")
    if not np.isfinite(data).all():
        raise ConfigError(f"{path} has voxels that are not finite; set them to 0 first")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise ConfigError(f"{path} has an affine that cannot be inverted: {image.affine.tolist()}")
    return data, image.affine


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    voxel_size: float,
    field_of_view: Sequence[int],
    centre: np.ndarray,
    order: int = 1,
) -> np.ndarray:
    """Brings a volume to a grid.

    Args:
      data: `(X, Y, Z)`.
      affine: of the data, `(4, 4)`, axes within 45 degrees of RAS.
      voxel_size: of the grid, in mm.
      field_of_view: voxels of the grid.
      centre: of the grid, in world coordinates (mm).
      order: 1 averages over the new voxel and interpolates, 0 takes the nearest voxel.

    Returns:
      float32 of shape `field_of_view`; 0 outside the data.
    """
    grid_affine = np.diag([voxel_size] * 3 + [1.0])
    grid_affine[:3, 3] = centre - voxel_size * (np.asarray(field_of_view) - 1) / 2
    to_data = np.linalg.inv(affine) @ grid_affine
    if order:
        steps = np.abs(to_data[:3, :3]).max(axis=1)
        data = ndimage.uniform_filter(data, [max(round(step), 1) for step in steps])
    return ndimage.affine_transform(
        data, to_data[:3, :3], to_data[:3, 3], tuple(field_of_view), np.float32, order
    )


def centre_of_box(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World coordinates (mm) of the middle of a mask's bounding box."""
    corners = np.argwhere(mask)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return affine[:3, :3] @ middle + affine[:3, 3]
