"""Motion while k-space is filled in the order of a protocol, linear or interleaved.

Each line belongs to the head as it lay when the line was acquired.  Poses are given relative to
that at the centre of k-space, so that labels fit the image whenever the head moved, before, at or
after the centre.  In linear order an event gives arcs and ringing along the phase axis parallel to
the edges of the head, most of all at skull and fat; in interleaved order neighbouring lines differ
and the head has faint copies as of ghosting (Zaitsev, Maclaren and Herbst 2015).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Array, Complex, Float, Image, ImageLike, Int, Key, Number, Real, Triple
from qc_jax.augment import motion, sampling

POSES = 3
"""Of the head during a scan, that is two events."""
_MARGIN = 8
"""Voxels of air around the head while it turns, so that a cut neck does not come in on top."""
_MM = 1.0
"""Shift in mm for each degree of rotation."""


def moments(lines: int, shots: int | Int[Array, ""]) -> Float[jax.Array, " {lines}"]:
    """`(lines,)` when each line is acquired, 0 to 1, in the order of `fftfreq`.

    Args:
      lines: along the axis.
      shots: 1 for linear order, from one end of k-space to the other; n for every n-th line first.
    """
    from_end = jnp.asarray(np.fft.ifftshift(np.arange(lines)))
    in_shot = -(-lines // shots)  # lines of a shot, rounded up
    return (from_end % shots * in_shot + from_end // shots) / (shots * in_shot)


def pose_numbers(
    lines: int, shots: int | Int[Array, ""], starts: Float[Array, " events"]
) -> Int[jax.Array, " {lines}"]:
    """`(lines,)` int, the pose in which each line is acquired.

    Args:
      lines: along the axis.
      shots: see `moments`.
      starts: `(P - 1,)` moments of the events, ascending.
    """
    return jnp.searchsorted(starts, moments(lines, shots), side="right")


def place(
    image: ImageLike,
    degrees: Real[Array, "3"],
    shift: Real[Array, "3"],
    voxel_size: Triple,
) -> Image:
    """The head in another pose, without loss of resolution.

    Args:
      image: `(X, Y, Z)`.
      degrees: `(3,)` rotation about x, y and z through the centre.
      shift: `(3,)` mm, after the rotation.
      voxel_size: `(3,)` mm of the image.
    """
    turned = motion.rotate(jnp.pad(image, _MARGIN), degrees, voxel_size)
    for axis in range(3):
        size = turned.shape[axis]
        frequency = np.expand_dims(np.fft.rfftfreq(size), [a for a in range(3) if a != axis])
        phase = jnp.exp(-2j * jnp.pi * frequency * shift[axis] / voxel_size[axis])
        turned = jnp.fft.irfft(jnp.fft.rfft(turned, axis=axis) * phase, size, axis=axis)
    return turned[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def sample_moving(
    image: ImageLike,
    along: Sequence[Complex[Array, "C _ _"]],
    voxel_size: Triple,
    degrees: Real[Array, "P 3"],
    shifts: Real[Array, "P 3"],
    pose_of_line: Sequence[Int[Array, "..."]],
) -> Complex[jax.Array, "C K1 K2 K3"]:
    """The k-space of a head in several poses, as `sampling.sample` for one that lies still.

    Args:
      image: `(X, Y, Z)`.
      along: see `sampling.sample`.
      voxel_size: `(3,)` mm of the image.
      degrees: `(P, 3)` rotation in each pose.
      shifts: `(P, 3)` mm.
      pose_of_line: three arrays of int that together broadcast to `(X, Y, Z)`; their sum is the
        number of the pose in which a line is acquired.
    """
    number = sum(pose_of_line, start=jnp.zeros((), int))

    def add(total, pose):
        index, turn, shift = pose
        still = jnp.all(turn == 0) & jnp.all(shift == 0)
        moved = jax.lax.cond(still, lambda: image, lambda: place(image, turn, shift, voxel_size))
        return total + jnp.where(number == index, sampling.sample(moved, along), 0.0), None

    shape = (len(along[0]), *(matrix.shape[1] for matrix in along))
    start = jnp.zeros(shape, jnp.complex64)
    return jax.lax.scan(add, start, (jnp.arange(len(degrees)), degrees, shifts))[0]


def sample_random(
    key: Key,
    image: ImageLike,
    along: Sequence[jax.Array | np.ndarray],
    voxel_size: Triple,
    severity: Number,
    encoded: Sequence[int],
) -> Complex[jax.Array, "C K1 K2 K3"]:
    """Two events at random moments, in linear order or two to eight shots.

    In each pose but that of the centre the head is rotated by `severity` degrees and shifted by
    1 mm a degree, both in random directions.

    Args:
      key: everything random comes from it.
      image: `(X, Y, Z)`.
      along: see `sampling.sample`.
      voxel_size: `(3,)` mm of the image.
      severity: in degrees; 0 is none.
      encoded: axes along which lines follow each other.
    """
    axis_key, order_key, shots_key, start_key, turn_key, shift_key = jax.random.split(key, 6)
    axis = jax.random.choice(axis_key, jnp.asarray(encoded))
    interleaved = jax.random.bernoulli(order_key)
    shots = jnp.where(interleaved, jax.random.randint(shots_key, (), 2, 9), 1)
    starts = jnp.sort(jax.random.uniform(start_key, (POSES - 1,), minval=0.08, maxval=0.92))
    directions = [jax.random.normal(k, (POSES, 3)) for k in (turn_key, shift_key)]
    turns, shifts = (d / jnp.linalg.norm(d, axis=1, keepdims=True) for d in directions)
    sizes = [matrix.shape[1] for matrix in along]
    numbers = [pose_numbers(size, shots, starts) for size in sizes]
    chosen = [jnp.where(axis == a, n, 0) for a, n in enumerate(numbers)]
    at_centre = sum(n[0] for n in chosen)
    moved = severity * (jnp.arange(POSES) != at_centre)[:, None]
    x, y, z = chosen
    pose_of_line = (x[:, None, None], y[:, None], z)
    return sample_moving(
        image, along, voxel_size, moved * turns, _MM * moved * shifts, pose_of_line
    )
