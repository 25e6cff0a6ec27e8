"""Images in cubes of voxels: what each holds, and back to voxels.

Arrays are `(B, X, Y, Z, C)`, with edges that a cube divides.
"""

import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Float

_EPSILON = 1e-5


def local_log_spread(x: Float[Array, "B X Y Z C"], edge: int) -> Float[jax.Array, "B x y z C"]:
    """Log standard deviation of each channel in cubes of `edge` voxels.

    `(B, X, Y, Z, C)` to `(B, X / edge, Y / edge, Z / edge, C)`.
    """
    batch, *shape, channels = x.shape
    number = [size // edge for size in shape]
    cubes = x.astype(jnp.float32).reshape(
        batch, number[0], edge, number[1], edge, number[2], edge, channels
    )
    return 0.5 * jnp.log(jnp.var(cubes, axis=(2, 4, 6)) + _EPSILON)


def mean_in_cubes(x: Float[Array, "B X Y Z C"], edge: int) -> Float[jax.Array, "B x y z C"]:
    """Means in cubes of `edge` voxels, `(B, X, Y, Z, C)` to a cube each."""
    x = jnp.asarray(x)
    batch, *shape, channels = x.shape
    parts = [length for size in shape for length in (size // edge, edge)]
    return jnp.mean(x.reshape(batch, *parts, channels), axis=(2, 4, 6))


def max_pool(x: Float[Array, "B X Y Z C"]) -> Float[jax.Array, "B x y z C"]:
    """Maximum over blocks of 2x2x2 voxels."""
    x = jnp.asarray(x)
    batch, *shape, channels = x.shape
    halved = [size // 2 for size in shape]
    blocks = x.reshape(batch, halved[0], 2, halved[1], 2, halved[2], 2, channels)
    return blocks.max(axis=(2, 4, 6))


def upsample(x: Float[Array, "B X Y Z C"], times: int = 1) -> Float[jax.Array, "B U V W C"]:
    """Trilinear interpolation to twice the size, so many times over; voxel centres aligned, edges
    repeated."""
    x = jnp.asarray(x)
    for axis in (1, 2, 3) * times:
        size = x.shape[axis]
        first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
        last = jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
        padded = jnp.concatenate([first, x, last], axis=axis)
        before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
        after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
        pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x
