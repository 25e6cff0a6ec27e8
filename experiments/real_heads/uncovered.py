"""Damage that none of the sources is to blame for.

Each is a pure function `(rng, image, voxel_size, fraction) -> image` of an image `(X, Y, Z)` in
[0, 1] in RAS orientation, `voxel_size` `(3,)` in mm, and 0 (mild) to 1 (severe).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax import augment
from qc_jax.scoring.scores import head_mask

_HEAD = 0.1
"""Share of the 99th percentile from which a voxel counts as head."""


def bias(
    rng: np.random.Generator, image: np.ndarray, voxel_size: Sequence[float], fraction: float
) -> np.ndarray:
    """A field that varies two to three times as much as that of a usual head coil."""
    key = jax.random.key(int(rng.integers(2**31)))
    return np.asarray(augment.bias_field(key, jnp.asarray(image), 0.3 + 0.5 * fraction))


def clipped_white(
    rng: np.random.Generator, image: np.ndarray, voxel_size: Sequence[float], fraction: float
) -> np.ndarray:
    """All above the 80th (mild) to 40th percentile of the head saturates, white matter with it."""
    level = np.percentile(image[_bright(image)], 80 - 40 * fraction)
    return np.minimum(image, level) / level


def metal(
    rng: np.random.Generator, image: np.ndarray, voxel_size: Sequence[float], fraction: float
) -> np.ndarray:
    """A void 20 to 40 mm in radius with a bright rim, within the upper half of the head."""
    low, high = augment.head_box(image, voxel_size)
    direction = rng.standard_normal(3)
    direction[2] = abs(direction[2])
    half = np.minimum((high - low) / 2, 80.0)
    top_down = np.array([*(low + high)[:2] / 2, high[2] - half[2]])
    centre = top_down + 0.6 * half * direction / np.linalg.norm(direction)
    radius = 20 + 20 * fraction
    distance = np.zeros(image.shape)
    for axis, (size, length) in enumerate(zip(image.shape, voxel_size, strict=True)):
        along = (np.arange(size) - (size - 1) / 2) * length - centre[axis]
        distance += np.expand_dims(along**2, [a for a in range(3) if a != axis])
    distance = np.sqrt(distance) / radius
    rim = 1 + np.exp(-(((distance - 1.1) / 0.1) ** 2))
    return _rescaled(image * np.clip((distance - 0.95) / 0.1, 0, 1) * rim)


def zipper(
    rng: np.random.Generator, image: np.ndarray, voxel_size: Sequence[float], fraction: float
) -> np.ndarray:
    """One to three planes across an axis, 1 to 2 mm thick, of dots brighter than the head."""
    bright = _bright(image)
    axis = int(rng.integers(3))
    inside = np.flatnonzero(bright.any(axis=tuple(a for a in range(3) if a != axis)))
    spoilt = np.moveaxis(image.copy(), axis, 0)
    wide = max(round(1.5 / voxel_size[axis]), 1)
    for _ in range(int(rng.integers(1, 4))):
        first = int(np.quantile(inside, rng.uniform(0.25, 0.75)))
        plane = spoilt[first : first + wide]
        dots = rng.choice([-1.0, 1.0], plane.shape) * image[bright].mean()
        plane[:] = np.abs(plane + (0.5 + fraction) * dots)
    return _rescaled(np.moveaxis(spoilt, 0, axis))


def low_contrast(
    rng: np.random.Generator, image: np.ndarray, voxel_size: Sequence[float], fraction: float
) -> np.ndarray:
    """Intensities to the power of 1 (mild) down to 0.2: all tissues about as bright."""
    top = np.percentile(image[_bright(image)], 99)
    return np.clip(image / top, 0, 1) ** (1 - 0.8 * fraction)


def inverted(
    rng: np.random.Generator, image: np.ndarray, voxel_size: Sequence[float], fraction: float
) -> np.ndarray:
    """Bright is dark and dark is bright within the head, as in T2; the mildest has no contrast."""
    mask = head_mask(image, float(np.mean(voxel_size)))
    top = np.percentile(image[mask], 99)
    return _rescaled(np.where(mask, 1 - fraction * np.clip(image / top, 0, 1), image))


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (bias, clipped_white, metal, zipper, low_contrast, inverted)
}
"""By the names in `plan.UNCOVERED`."""


def _bright(image: np.ndarray) -> np.ndarray:
    return image > _HEAD * np.percentile(image, 99)


def _rescaled(image: np.ndarray) -> np.ndarray:
    return (image / max(image.max(), np.finfo(np.float32).tiny)).astype(np.float32)
