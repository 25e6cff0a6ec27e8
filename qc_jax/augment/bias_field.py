"""Bias field: a smooth multiplicative variation of the intensity, exp of a low-order polynomial.

Images are `(X, Y, Z)` float in [0, 1].
"""

import itertools

import jax
import jax.numpy as jnp

from qc_jax.augment.compose import rescale

_POWERS = [p for p in itertools.product(range(4), repeat=3) if 0 < sum(p) <= 3]
NUM_COEFFICIENTS = len(_POWERS)
"""Polynomial terms of order 1 to 3 in three variables: 19."""


def apply_bias_field(image: jax.Array, coefficients: jax.Array) -> jax.Array:
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


def bias_field(key: jax.Array, image: jax.Array, amount: jax.Array | float) -> jax.Array:
    """A random field with coefficients uniform in [-amount, amount]; 0.3 is a usual head coil."""
    coefficients = jax.random.uniform(key, (NUM_COEFFICIENTS,), minval=-1.0, maxval=1.0)
    return apply_bias_field(image, amount * coefficients)
