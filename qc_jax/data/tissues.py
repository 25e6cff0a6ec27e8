"""Scans as tissue fractions, and T1-weighted images drawn from them.

A subject is `(X, Y, Z, T)` uint8, the fraction of each tissue in each voxel in units of 1/255 (the
sum is 255), with the tissues in the order of `TISSUES`.  Its labels are 1 where grey matter is the
largest fraction; its image is the mean intensity of the tissues weighted by their fractions, which
is what partial volume means.
"""

import functools

import numpy as np

TISSUES = ("air", "fluid", "grey_matter", "white_matter", "bone", "soft_tissue", "fat")
GREY_MATTER = TISSUES.index("grey_matter")

# Mean T1-weighted intensity of each tissue relative to white matter and its spread over scanners
# and sequences; the order fluid < grey < white is kept by the ranges.
_MEAN = np.array([0.02, 0.22, 0.62, 0.95, 0.12, 0.5, 1.0])
_SPREAD = np.array([0.015, 0.1, 0.1, 0.05, 0.08, 0.2, 0.3])


def labels_of(fractions: np.ndarray) -> np.ndarray:
    """`(X, Y, Z, T)` to `(X, Y, Z)` int8: 1 where grey matter is the largest fraction."""
    return (np.argmax(fractions, axis=-1) == GREY_MATTER).astype(np.int8)


def draw_image(rng: np.random.Generator, fractions: np.ndarray) -> np.ndarray:
    """A T1-weighted image of random contrast.

    Args:
      rng: the contrast and a texture come from it.
      fractions: `(X, Y, Z, T)` uint8.

    Returns:
      `(X, Y, Z)` float32 in [0, 1].
    """
    means = np.maximum(_MEAN + _SPREAD * rng.uniform(-1, 1, len(TISSUES)), 0.0)
    image = fractions.reshape(-1, len(TISSUES)).astype(np.float32) @ (means / 255).astype(
        np.float32
    )
    image = image.reshape(fractions.shape[:-1])
    image *= np.roll(_texture(image.shape), rng.integers(0, image.shape), axis=(0, 1, 2))
    return image / image.max()


@functools.cache
def _texture(shape: tuple[int, ...]) -> np.ndarray:
    """1 with 2 % of variation, since no tissue is uniform: well below what any artefact does."""
    return 1.0 + 0.02 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
