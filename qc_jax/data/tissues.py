"""Scans as tissue fractions, and T1-weighted images drawn from them.

A subject is `(X, Y, Z, T)` uint8, the fraction of each tissue in each voxel in units of 1/255 (the
sum is 255), with the tissues in the order of `TISSUES`.  Its labels are 1 where grey matter is the
largest fraction; its image is the mean intensity of the tissues weighted by their fractions, which
is what partial volume means.
"""

import functools

import numpy as np

TISSUES = (
    "air",
    "fluid",
    "grey_matter",
    "white_matter",
    "bone",
    "soft_tissue",
    "fat",
    "deep_grey_matter",
)
GREY_MATTER = TISSUES.index("grey_matter")
DEEP_GREY_MATTER = TISSUES.index("deep_grey_matter")

# Mean T1-weighted intensity of each tissue relative to white matter and its spread over scanners
# and sequences; the order fluid < grey < white is kept by the ranges.  Thalamus and pallidum hold
# more myelin than the cortex and are brighter.
_MEAN = np.array([0.02, 0.22, 0.62, 0.95, 0.12, 0.5, 1.0, 0.72])
_SPREAD = np.array([0.015, 0.1, 0.1, 0.05, 0.08, 0.2, 0.3, 0.1])
_STRIPPED = [TISSUES.index(tissue) for tissue in ("air", "bone", "soft_tissue", "fat")]


def labels_of(fractions: np.ndarray) -> np.ndarray:
    """`(X, Y, Z, T)` to `(X, Y, Z)` int8: 1 where grey matter is the largest fraction."""
    joined = fractions.copy()
    joined[..., GREY_MATTER] += joined[..., DEEP_GREY_MATTER]
    joined[..., DEEP_GREY_MATTER] = 0
    return (np.argmax(joined, axis=-1) == GREY_MATTER).astype(np.int8)


def to_bytes(fractions: np.ndarray) -> np.ndarray:
    """`(X, Y, Z, T)` float fractions to uint8 in units of 1/255; air takes what rounding leaves."""
    rounded = np.rint(255 * fractions[..., 1:]).astype(np.int16)
    air = np.clip(255 - rounded.sum(axis=-1, keepdims=True), 0, 255)
    return np.concatenate([air, rounded], axis=-1).astype(np.uint8)


def draw_image(rng: np.random.Generator, fractions: np.ndarray) -> np.ndarray:
    """A T1-weighted image of random contrast, resolution, texture and noise floor.

    One head in ten is skull-stripped.  Resolution and noise stay well below what an artefact does:
    a full width at half maximum of at most 1.5 voxels, an SNR of at least 30 dB.

    Args:
      rng: everything random comes from it.
      fractions: `(X, Y, Z, T)` uint8.

    Returns:
      `(X, Y, Z)` float32 in [0, 1].
    """
    means = np.maximum(_MEAN + _SPREAD * rng.uniform(-1, 1, len(TISSUES)), 0.0)
    if rng.random() < 0.1:
        means[_STRIPPED] = 0.0
    image = fractions.reshape(-1, len(TISSUES)) @ (means / 255).astype(np.float32)
    image = image.reshape(fractions.shape[:-1])
    for axis, weight in enumerate(rng.uniform(0.0, 0.2, 3)):
        image = _smooth(image, axis, np.float32(weight))
    texture, noise = (
        np.roll(_normal(image.shape), rng.integers(0, image.shape), axis=(0, 1, 2))
        for _ in range(2)
    )
    image *= 1.0 + np.float32(rng.uniform(0.01, 0.03)) * texture
    root_mean_square = np.sqrt(np.mean(np.square(image)))
    image = np.abs(image + np.float32(rng.uniform(0.0, 0.03) * root_mean_square) * noise)
    return image / image.max()


def _smooth(image: np.ndarray, axis: int, weight: np.float32) -> np.ndarray:
    """Each voxel gives `weight` of itself to either neighbour along an axis; edges repeat."""
    padding = [(1, 1) if a == axis else (0, 0) for a in range(image.ndim)]
    padded = np.pad(image, padding, mode="edge")
    lines = np.moveaxis(padded, axis, 0)
    return image + weight * np.moveaxis(lines[:-2] + lines[2:] - 2 * lines[1:-1], 0, axis)


@functools.cache
def _normal(shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, drawn once: each image takes them shifted by another amount."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
