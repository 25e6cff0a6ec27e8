"""Damage to a part of the head: a slab or a half with a soft edge, and where it is, as truth.

Weights are `(X, Y, Z)` float32, 1 where the artefact is and 0 where it is not.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Axis, Image, ImageLike, Key, Number


def slab(
    shape: Sequence[int],
    axis: Axis,
    low: Number,
    high: Number,
    edge: Number,
) -> Image:
    """From `low` to `high` along an axis, half of the weight there; cosine edges `edge` wide.

    Args:
      shape: of the scan.
      axis: 0, 1 or 2; may be traced.
      low, high: share of the field of view, 0 to 1; one beyond, by more than the edge, is open.
      edge: share of the field of view.
    """
    weight = jnp.zeros(())
    for a, size in enumerate(shape):
        position = (np.arange(size) + 0.5) / size
        rise, fall = _step((position - low) / edge), _step((high - position) / edge)
        along = jnp.where(jnp.equal(axis, a), rise * fall, 0.0)
        weight = weight + jnp.expand_dims(along, [b for b in range(3) if b != a])
    return jnp.broadcast_to(weight, tuple(shape)).astype(jnp.float32)


def random_slab(key: Key, shape: Sequence[int]) -> Image:
    """A half of the field of view, or a slab of 8 to 30 % of it, within its middle."""
    axis_key, half_key, upper_key, width_key, place_key, edge_key = jax.random.split(key, 6)
    axis = jax.random.randint(axis_key, (), 0, 3)
    half, upper = jax.random.bernoulli(half_key, 0.4), jax.random.bernoulli(upper_key)
    place = jax.random.uniform(place_key)
    width = jax.random.uniform(width_key, minval=0.08, maxval=0.3)
    middle = 0.4 + 0.2 * place
    low = jnp.where(half, jnp.where(upper, middle, -1.0), 0.2 + place * (0.6 - width))
    high = jnp.where(half, jnp.where(upper, 2.0, middle), 0.2 + place * (0.6 - width) + width)
    edge = jax.random.uniform(edge_key, minval=0.01, maxval=0.05)
    return slab(shape, axis, low, high, edge)


def blend(clean: ImageLike, spoilt: ImageLike, weight: ImageLike) -> Image:
    """`(X, Y, Z)`, spoilt where the weight is 1 and clean where it is 0."""
    return jnp.asarray(clean) + weight * (spoilt - clean)


def _step(distance: jax.Array | np.ndarray) -> jax.Array:
    """0 below -1/2, 1 above 1/2, a cosine between."""
    return 0.5 * (1 + jnp.sin(jnp.pi * jnp.clip(distance, -0.5, 0.5)))
