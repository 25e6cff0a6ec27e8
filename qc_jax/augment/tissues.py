"""Scans as tissue fractions, and T1-weighted images drawn from them.

A head is `(X, Y, Z, T)` uint8, the fraction of each tissue in each voxel in units of 1/255 (the
sum is 255), with the tissues in the order of `TISSUES` and the axes in that of RAS.  Its labels are
1 where grey matter is the largest fraction; its image is the mean intensity of the tissues weighted
by their fractions, which is what partial volume means.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from qc_jax.arrays import Array, Float, Image, Int8, Key, Number, Real, UInt8
from qc_jax.augment import spatial
from qc_jax.augment.intensity import rescale

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
# more myelin than the cortex and are brighter.  Fat is dark where it is suppressed.
_MEAN = np.array([0.02, 0.24, 0.63, 0.96, 0.13, 0.5, 0.9, 0.74], np.float32)
_SPREAD = np.array([0.02, 0.14, 0.11, 0.04, 0.1, 0.25, 0.6, 0.11], np.float32)
_BRAIN = np.isin(TISSUES, ("fluid", "grey_matter", "white_matter", "deep_grey_matter"))

_STRIPPED, _MASKED, _DEFACED, _CUT, _DENOISED = 0.2, 0.2, 0.1, 0.1, 0.2
"""Shares of the images without skull; without air; without face; without neck; without noise."""
_LARGEST_CUT = 0.12
"""Share of the field of view that lacks from below at most."""


def labels_of(fractions: Real[Array, "X Y Z T"]) -> Int8[jax.Array, "X Y Z"]:
    """`(X, Y, Z, T)` to `(X, Y, Z)` int8: 1 where grey matter is the largest fraction."""
    fractions = jnp.asarray(fractions)
    if fractions.dtype == jnp.uint8:
        fractions = fractions.astype(jnp.int16)
    grey = fractions[..., GREY_MATTER] + fractions[..., DEEP_GREY_MATTER]
    rest = fractions.at[..., np.array([GREY_MATTER, DEEP_GREY_MATTER])].set(-1)
    return (grey > jnp.max(rest, axis=-1)).astype(jnp.int8)


def to_bytes(fractions: Float[np.ndarray, "X Y Z T"]) -> UInt8[np.ndarray, "X Y Z T"]:
    """`(X, Y, Z, T)` float fractions to uint8 in units of 1/255; air takes what rounding leaves."""
    rounded = np.rint(255 * fractions[..., 1:]).astype(np.int16)
    air = np.clip(255 - rounded.sum(axis=-1, keepdims=True), 0, 255)
    return np.concatenate([air, rounded], axis=-1).astype(np.uint8)


def draw_image(key: Key, fractions: Real[Array, "X Y Z T"]) -> Image:
    """A T1-weighted image of random contrast, resolution, texture and noise floor.

    Some are without skull, face, neck or noise, or have air of exact zeros, as scans have that went
    through a program before.  Resolution and noise stay well below what an artefact does: a full
    width at half maximum of at most 2 voxels, an SNR of at least 30 dB.

    Args:
      key: everything random comes from it.
      fractions: `(X, Y, Z, T)`, uint8 or float, in units of 1/255.

    Returns:
      `(X, Y, Z)` float32 in [0, 1].
    """
    mean_key, width_key, amount_key, bits_key, what_key = jax.random.split(key, 5)
    spread = jax.random.uniform(mean_key, (len(TISSUES),), minval=-1.0)
    means = jnp.maximum(_MEAN + _SPREAD * spread, 0.0) / 255
    fractions = jnp.asarray(fractions).astype(jnp.float32)
    image = fractions @ means
    common, *widths = jax.random.uniform(width_key, (4,))
    for axis, width in enumerate(widths):
        image = _smooth(image, axis, 0.2 * width)
        image = _smooth(image, axis, 0.25 * jnp.maximum(2.0 * common - 1.0, 0.0))

    stripped, masked, defaced, cut, denoised, depth = jax.random.uniform(what_key, (6,))
    texture, noise = _normal(bits_key, image.shape)
    amounts = jax.random.uniform(amount_key, (2,), maxval=0.03) * (denoised >= _DENOISED)
    image *= 1.0 + amounts[0] * texture
    root_mean_square = jnp.sqrt(jnp.mean(jnp.square(image)))
    image = jnp.abs(image + amounts[1] * root_mean_square * noise)

    brain = fractions @ _BRAIN.astype(np.float32) >= 0.5 * 255
    head = fractions[..., 0] <= 0.5 * 255
    _, front, up = (jnp.linspace(0.0, 1.0, n) for n in image.shape)
    face = ~brain & (front[:, None] > 0.6) & (up < 0.45)
    gone = ((stripped < _STRIPPED) & ~brain) | ((masked < _MASKED) & ~head)
    gone |= (defaced < _DEFACED) & face
    gone |= (cut < _CUT) & (up < _LARGEST_CUT * depth)
    return rescale(jnp.where(gone, 0.0, image))


def deform(
    key: Key, fractions: Real[Array, "X Y Z T"], amount: float
) -> Float[jax.Array, "X Y Z T"]:
    """Another head of the same tissues.

    An affine map, of up to 8 degrees about each axis, 8 % of size along each and 3 % of shear, and
    the displacement of 7x7x7 control points, cubic between them; nothing folds as long as `amount`
    stays below a tenth of the distance between control points.

    Args:
      key: pose, size and deformation come from it.
      fractions: `(X, Y, Z, T)` uint8.
      amount: standard deviation of a control point's displacement along each axis, in voxels.

    Returns:
      As `fractions`, but float32; beyond the field of view its border goes on.
    """
    affine_key, size_key, shear_key, points_key = jax.random.split(key, 4)
    degrees = jax.random.uniform(affine_key, (3,), minval=-8.0, maxval=8.0)
    size = jnp.diag(jnp.exp(jax.random.uniform(size_key, (3,), minval=-0.08, maxval=0.08)))
    shear = jnp.triu(jax.random.uniform(shear_key, (3, 3), minval=-0.03, maxval=0.03), 1)
    matrix = spatial.rotation_matrix(degrees) @ (size + shear)
    shape = fractions.shape[:3]
    points = amount * jax.random.normal(points_key, (3, 7, 7, 7))
    displacement = jax.image.resize(points, (3, *shape), "cubic")
    coordinates = tuple(spatial.affine_origins(shape, matrix) + displacement)

    def take(tissue):
        return map_coordinates(tissue.astype(jnp.float32), coordinates, order=1, mode="nearest")

    return jax.vmap(take, in_axes=-1, out_axes=-1)(fractions)


def _smooth(image: Image, axis: int, weight: Number) -> Image:
    """Each voxel gives `weight` of itself to either neighbour along an axis; edges repeat."""
    padding = [(1, 1) if a == axis else (0, 0) for a in range(image.ndim)]
    padded = jnp.pad(image, padding, mode="edge")
    size = image.shape[axis]
    before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
    after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    return image + weight * (before + after - 2 * image)


def _normal(key: Key, shape: tuple[int, ...]) -> tuple[Image, Image]:
    """Two arrays of about normal numbers, mean 0 and variance 1, each from 16 coin flips."""
    bits = jax.random.bits(key, shape)

    def count(half):
        ones = jax.lax.population_count(half & 0xFFFF)
        return (ones.astype(jnp.int32) - 8).astype(jnp.float32) * np.float32(0.5)

    return count(bits), count(bits >> 16)
