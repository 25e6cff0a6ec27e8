"""Rotation, scaling and flips of an image together with its labels.

Images are `(X, Y, Z)` float, labels `(X, Y, Z)` int; rotations in degrees about the centre.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from qc_jax.arrays import Array, Bool, Float, Image, ImageLike, Int, Key, Number, Real


def rotation_matrix(degrees: Real[Array, "3"]) -> Float[jax.Array, "3 3"]:
    """`(3,)` angles about x, y and z, applied in this order, to a `(3, 3)` matrix."""
    (cx, cy, cz), (sx, sy, sz) = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    about_x = jnp.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = jnp.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    about_z = jnp.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]])
    return about_z @ about_y @ about_x


def origins(
    shape: Sequence[int], degrees: Real[Array, "3"], scale: Number = 1.0
) -> Float[jax.Array, "3 X Y Z"]:
    """`(3, X, Y, Z)`, where each voxel of a rotated and scaled volume comes from, in voxels."""
    return affine_origins(shape, rotation_matrix(degrees).T / scale)


def affine_origins(
    shape: Sequence[int], matrix: Float[Array, "3 3"]
) -> Float[jax.Array, "3 X Y Z"]:
    """As `origins`, for any map from output to input, `(3, 3)`, about the centre."""
    centre = (jnp.asarray(shape, jnp.float32)[:, None, None, None] - 1.0) / 2.0
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, shape), indexing="ij"))
    return jnp.einsum("ij,jxyz->ixyz", matrix, grid - centre) + centre


def transform(
    image: ImageLike, labels: Int[Array, "X Y Z"], degrees: Real[Array, "3"], scale: Number
) -> tuple[Image, Int[jax.Array, "X Y Z"]]:
    """Rotates and scales: trilinear for the image, nearest neighbour for the labels.

    Args:
      image: `(X, Y, Z)`.
      labels: `(X, Y, Z)`.
      degrees: `(3,)` angles about the axes.
      scale: above 1 the head grows.

    Returns:
      Image and labels of the same shape; what comes from outside is 0.
    """
    coordinates = tuple(origins(image.shape, degrees, scale))
    moved = map_coordinates(image, coordinates, order=1, mode="constant")
    return moved, map_coordinates(labels, coordinates, order=0, mode="constant")


def random_transform(
    key: Key, image: ImageLike, labels: Int[Array, "X Y Z"], degrees: float, scaling: float
) -> tuple[Image, Int[jax.Array, "X Y Z"]]:
    """Angles uniform within plus and minus `degrees`, log scale within log(1 + scaling)."""
    angle_key, scale_key = jax.random.split(key)
    angles = jax.random.uniform(angle_key, (3,), minval=-degrees, maxval=degrees)
    limit = jnp.log1p(scaling)
    scale = jnp.exp(jax.random.uniform(scale_key, minval=-limit, maxval=limit))
    return transform(image, labels, angles, scale)


def flip(
    image: ImageLike, labels: Int[Array, "X Y Z"], flipped: Bool[Array, "3"]
) -> tuple[Image, Int[jax.Array, "X Y Z"]]:
    """Reverses the axes for which `flipped`, `(3,)` bool, is true."""
    image, labels = jnp.asarray(image), jnp.asarray(labels)
    for axis in range(3):
        image = jnp.where(flipped[axis], jnp.flip(image, axis), image)
        labels = jnp.where(flipped[axis], jnp.flip(labels, axis), labels)
    return image, labels


def random_flip(
    key: Key, image: ImageLike, labels: Int[Array, "X Y Z"]
) -> tuple[Image, Int[jax.Array, "X Y Z"]]:
    """Each axis reversed with probability one half."""
    return flip(image, labels, jax.random.bernoulli(key, shape=(3,)))
