"""Random anatomy: an affine change of size and pose, and a smooth diffeomorphism.

The diffeomorphism is a stationary velocity field, integrated by scaling and squaring, whose
Jacobian is checked to be positive.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def origins(
    affine: np.ndarray,
    displacement: np.ndarray,
    shape: Sequence[int],
    zoom: float = 1.0,
    shift: Sequence[float] = (0, 0, 0),
) -> np.ndarray:
    """Where each voxel comes from, `(3, *shape)`, in voxels of the source.

    Args:
      affine: `(3, 3)`, output to input, about the centres.
      displacement: `(3, X, Y, Z)` on the grid of the source, in its voxels, added after the affine.
      shape: voxels of the output.
      zoom: edge of an output voxel over that of a source voxel.
      shift: of the source's centre, in its voxels.
    """
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"))
    centre_out = (np.array(shape) - 1) / 2
    centre_in = (np.array(displacement.shape[1:]) - 1) / 2 + np.asarray(shift)
    offset = (grid - centre_out[:, None, None, None]) * zoom
    coordinates = np.einsum("ij,jxyz->ixyz", affine, offset) + centre_in[:, None, None, None]
    return coordinates + np.stack(
        [ndimage.map_coordinates(d, coordinates, order=1, mode="nearest") for d in displacement]
    )


def random_affine(rng: np.random.Generator) -> np.ndarray:
    """Output to input: up to 8 degrees about each axis, sizes within 8 %, shear within 3 %."""
    angles = np.deg2rad(rng.uniform(-8, 8, 3))
    matrix = np.diag(np.exp(rng.uniform(-0.08, 0.08, 3))) + np.triu(
        rng.uniform(-0.03, 0.03, (3, 3)), 1
    )
    for axis, angle in enumerate(angles):
        i, j = (k for k in range(3) if k != axis)
        rotation = np.eye(3)
        rotation[i, i] = rotation[j, j] = np.cos(angle)
        rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
        matrix = rotation @ matrix
    return matrix


def diffeomorphism(
    rng: np.random.Generator, shape: tuple[int, ...], voxel_size: float
) -> np.ndarray:
    """A smooth displacement in voxels, `(3, X, Y, Z)`, of positive Jacobian everywhere.

    The velocity's standard deviation is 1 to 2.5 mm along each axis for voxels of `voxel_size` mm.
    It is halved until the Jacobian is positive; so smooth a field hardly ever needs it.
    """
    coarse = tuple(-(-n // 4) for n in shape)
    velocity = np.stack(
        [ndimage.gaussian_filter(rng.standard_normal(coarse), 2.0) for _ in range(3)]
    )
    velocity *= rng.uniform(1.0, 2.5) / velocity.std() / voxel_size
    while True:
        displacement = _integrate(velocity / 4)
        if jacobian_determinant(displacement).min() > 0.05:
            break
        velocity = velocity / 2
    zoom = [n / c for n, c in zip(shape, coarse, strict=True)]
    return np.stack([ndimage.zoom(4 * d, zoom, order=1, mode="nearest") for d in displacement])


def _integrate(velocity: np.ndarray, squarings: int = 5) -> np.ndarray:
    """exp(velocity) by scaling and squaring: u <- u + u(x + u), `squarings` times."""
    grid = np.stack(np.meshgrid(*map(np.arange, velocity.shape[1:]), indexing="ij"))
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        moved = grid + displacement
        displacement = displacement + np.stack(
            [ndimage.map_coordinates(d, moved, order=1, mode="nearest") for d in displacement]
        )
    return displacement


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """Determinant of the Jacobian of x + displacement, `(3, X, Y, Z)` in voxels to `(X, Y, Z)`."""
    gradient = np.stack([np.stack(np.gradient(d)) for d in displacement])
    jacobian = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3)
    return np.linalg.det(jacobian)
