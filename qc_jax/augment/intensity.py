"""Intensity: what scale a scan has, and the bias field, its smooth variation over the head.

Images are `(X, Y, Z)` float, in [0, 1] unless it says otherwise.
"""

import itertools

import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Float, Image, ImageLike, Key, Number

_POWERS = [p for p in itertools.product(range(4), repeat=3) if 0 < sum(p) <= 3]
NUM_COEFFICIENTS = len(_POWERS)
"""Polynomial terms of order 1 to 3 in three variables: 19."""


def normalise(image: ImageLike) -> Image:
    """A scan of any scale to the intensities that the network sees, those of scoring and training.

    The unit is three times the mean intensity of the head; what is brighter, vessels and fat,
    saturates.  The mean is weighted with the intensity itself, sum(x^2) / sum(x), which leaves air
    out without a mask, however much of it there is.

    Args:
      image: `(X, Y, Z)`, nowhere negative.

    Returns:
      `(X, Y, Z)` in [0, 1]; an image of zeros stays zero.
    """
    scaled = rescale(image)
    tiny = jnp.finfo(scaled.dtype).tiny
    mean = jnp.sum(jnp.square(scaled)) / jnp.maximum(jnp.sum(scaled), tiny)
    return jnp.minimum(scaled / jnp.maximum(3.0 * mean, tiny), 1.0)


def rescale(image: ImageLike) -> Image:
    """Divides a magnitude image by its maximum; an image of zeros stays zero."""
    image = jnp.asarray(image)
    return image / jnp.maximum(jnp.max(image), jnp.finfo(image.dtype).tiny)


def apply_bias_field(image: ImageLike, coefficients: Float[Array, "19"]) -> Image:
    """Multiplies by exp(sum c_i x^a y^b z^c) over coordinates in [-1, 1], and rescales to [0, 1].

    Args:
      image: `(X, Y, Z)`.
      coefficients: `(NUM_COEFFICIENTS,)`; zeros are the identity.
    """
    # Collected per axis, the 19 terms are a product of three small Vandermonde matrices.
    cube = jnp.zeros((4, 4, 4)).at[tuple(zip(*_POWERS, strict=True))].set(coefficients)
    x, y, z = (jnp.linspace(-1.0, 1.0, size)[:, None] ** jnp.arange(4) for size in image.shape)
    exponent = jnp.einsum("abc,xa,yb,zc->xyz", cube, x, y, z)
    return rescale(image * jnp.exp(exponent))


def bias_field(key: Key, image: ImageLike, amount: Number) -> Image:
    """A random field with coefficients uniform in [-amount, amount]; 0.3 is a usual head coil."""
    coefficients = jax.random.uniform(key, (NUM_COEFFICIENTS,), minval=-1.0, maxval=1.0)
    return apply_bias_field(image, amount * coefficients)
