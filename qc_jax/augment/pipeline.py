"""What programs do to a scan before anybody looks at its quality.

None of it is an artefact, yet all of it leaves a trace in k-space: interpolation colours noise and
blurs, a mask has edges that ring, clipping makes harmonics.  What learns to name artefacts has to
have seen it.  A scan is `(X, Y, Z)` float of any scale.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Array, Bool, Float, Image, ImageLike, Triple
from qc_jax.augment import motion, spatial
from qc_jax.errors import ConfigError

METHODS = ("linear", "cubic", "sinc")
"""Interpolation; cubic is Keys' (1981) convolution with a = -1/2."""


def _check(method: str, methods: Sequence[str] = METHODS) -> None:
    if method not in methods:
        raise ConfigError(f"{method!r} is no interpolation; take {' or '.join(methods)}")


# -- Where the voxels lie --------------------------------------------------------------------------


def resample(
    scan: ImageLike,
    voxel_size: Triple,
    shape: Sequence[int],
    new_size: Triple,
    centre: Triple = (0.0, 0.0, 0.0),
    method: str = "linear",
) -> Float[jax.Array, "U V W"]:
    """Interpolates at the voxels of another grid; nothing is averaged, as most programs do not.

    Args:
      scan: what to resample.
      voxel_size: `(3,)` mm of it.
      shape: of the new grid.
      new_size: `(3,)` mm of its voxels.
      centre: `(3,)` mm from the centre of the scan to that of the new grid.
      method: linear or cubic.

    Returns:
      `(X, Y, Z)` of the new shape; 0 outside the scan.
    """
    _check(method, METHODS[:2])
    scan = jnp.asarray(scan)
    for axis in range(3):
        ratio = new_size[axis] / voxel_size[axis]
        middle = (scan.shape[axis] - 1) / 2 + centre[axis] / voxel_size[axis]
        where = middle + ratio * (np.arange(shape[axis]) - (shape[axis] - 1) / 2)
        weights = _weights(where, scan.shape[axis], method)
        moved = jnp.tensordot(weights, jnp.moveaxis(scan, axis, 0), 1, precision="highest")
        scan = jnp.moveaxis(moved, 0, axis)
    return scan


def _weights(
    where: Float[Array, " places"], size: int, method: str
) -> Float[jax.Array, "places size"]:
    """`(places, voxels)`, how much of each voxel a place between voxels takes; 0 outside."""
    distance = jnp.abs(jnp.asarray(where)[:, None] - np.arange(size))
    if method == "linear":
        weights = jnp.maximum(1 - distance, 0.0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))
    inside = (where > -0.5) & (where < size - 0.5)
    # Beyond the outermost voxels those are repeated.
    missing = 1 - jnp.sum(weights, axis=1)
    edge = jnp.where(where < size / 2, 0, size - 1)
    weights = weights + missing[:, None] * (edge[:, None] == np.arange(size))
    return (weights * inside[:, None]).astype(jnp.float32)


def shift(scan: ImageLike, voxels: Triple, method: str = "linear"):
    """Moves a scan by a part of a voxel, as every realignment does.

    Linear interpolation half-way halves the noise along each axis and blurs; sinc changes nothing
    but the place; what leaves on one side comes in on the other with sinc alone.

    Args:
      scan: what to move.
      voxels: `(3,)` towards higher indices.
      method: linear, cubic or sinc.
    """
    _check(method)
    if method != "sinc":
        return resample(scan, (1, 1, 1), scan.shape, (1, 1, 1), [-v for v in voxels], method)
    k_space = jnp.fft.rfftn(scan)
    frequencies = [np.fft.fftfreq(n) for n in scan.shape[:2]] + [np.fft.rfftfreq(scan.shape[2])]
    for axis, frequency in enumerate(frequencies):
        phase = jnp.exp(-2j * jnp.pi * frequency * voxels[axis])
        k_space = k_space * jnp.expand_dims(phase, [a for a in range(3) if a != axis])
    return jnp.fft.irfftn(k_space, scan.shape)


def tilt(
    scan: ImageLike,
    degrees: Triple,
    voxel_size: Triple = (1.0, 1.0, 1.0),
    method: str = "linear",
) -> Image:
    """Turns a scan about its centre by a few degrees, to straighten a head.

    Args:
      scan: what to turn.
      degrees: `(3,)` about x, y and z.
      voxel_size: `(3,)` along the axes, in any unit.
      method: linear, or sinc by shears, see `motion.rotate`.
    """
    _check(method, ("linear", "sinc"))
    if method == "sinc":
        return motion.rotate(scan, jnp.asarray(degrees), voxel_size)
    size = jnp.asarray(voxel_size)
    matrix = spatial.rotation_matrix(jnp.asarray(degrees)).T * size / size[:, None]
    origins = spatial.affine_origins(scan.shape, matrix)
    return jax.scipy.ndimage.map_coordinates(scan, tuple(origins), order=1, mode="constant")


def conform(
    scan: ImageLike, voxel_size: Triple, edge: float = 1.0, method: str = "linear"
) -> Float[jax.Array, "U V W"]:
    """Isotropic voxels of `edge` mm over the same field of view, as FreeSurfer's first step."""
    shape = [max(round(n * size / edge), 1) for n, size in zip(scan.shape, voxel_size, strict=True)]
    return resample(scan, voxel_size, shape, (edge,) * 3, method=method)


# -- What is taken away ----------------------------------------------------------------------------


def face(brain: Bool[Array, "X Y Z"], depth: float = 0.3) -> Bool[np.ndarray, "X Y Z"]:
    """Where a face is: in front of the lower part of the brain, below an oblique plane.

    Args:
      brain: `(X, Y, Z)` bool, axes in the order and direction of RAS.
      depth: how far the plane reaches back below the brain, as a share of its length.

    Returns:
      `(X, Y, Z)` bool, nothing of the brain in it.

    Raises:
      ConfigError: there is no brain.
    """
    brain = np.asarray(brain, bool)
    if not brain.any():
        raise ConfigError("the mask of the brain is empty; without a brain no face is found")
    _, y, z = (np.flatnonzero(brain.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    length, height = np.ptp(y) + 1, np.ptp(z) + 1
    forward = (np.arange(brain.shape[1]) - y[-1]) / length
    upward = (np.arange(brain.shape[2]) - z[0]) / height
    # From below the middle of the brain up to its forehead.
    below = upward[None, :] < 0.55 * (forward[:, None] + depth) / (depth + 0.1)
    below &= upward[None, :] < 0.6
    return np.broadcast_to(below, brain.shape) & ~brain


def remove(scan: ImageLike, mask: Bool[Array, "X Y Z"]) -> Image:
    """Zeros where the mask is: the face, or what is not brain (`~brain`)."""
    return jnp.where(jnp.asarray(mask), 0.0, scan)


# -- Intensity -------------------------------------------------------------------------------------


def standardise(scan: ImageLike) -> Image:
    """Mean 0 and standard deviation 1 over what is above the mean; air becomes negative."""
    scan = jnp.asarray(scan)
    inside = scan > jnp.mean(scan)
    number = jnp.maximum(jnp.sum(inside), 1)
    mean = jnp.sum(scan * inside) / number
    variance = jnp.sum(jnp.square(scan - mean) * inside) / number
    return (scan - mean) / jnp.sqrt(jnp.maximum(variance, jnp.finfo(scan.dtype).tiny))


def clip(scan: ImageLike, low: float = 0.5, high: float = 99.5) -> Image:
    """What is below one percentile or above another takes its value: fat and vessels saturate."""
    lowest, highest = jnp.percentile(scan, jnp.asarray([low, high]))
    return jnp.clip(scan, lowest, highest)


def quantise(scan: ImageLike, steps: int) -> Image:
    """`steps` intensities above the lowest, evenly spaced: 255 for a byte; the scale stays."""
    lowest, highest = jnp.min(scan), jnp.max(scan)
    step = jnp.maximum(highest - lowest, jnp.finfo(scan.dtype).tiny) / steps
    return lowest + step * jnp.rint((scan - lowest) / step)


# -- At random -------------------------------------------------------------------------------------


def random_move(
    rng: np.random.Generator, scan: ImageLike, voxel_size: Triple
) -> tuple[Float[jax.Array, "U V W"], Float[np.ndarray, "4 4"]]:
    """One step that interpolates: a shift of up to half a voxel, a tilt of up to 6 degrees, or
    voxels of 1 mm.

    Args:
      rng: everything random comes from it; shapes may change.
      scan: what to move.
      voxel_size: `(3,)` mm of it.

    Returns:
      The scan, and where its voxels were, `(4, 4)`: the affine of the new scan is that of the old
      one times this.
    """
    to_old = np.eye(4)
    step = rng.integers(3)
    if step == 0:
        voxels = rng.uniform(-0.5, 0.5, 3)
        to_old[:3, 3] = -voxels
        return shift(scan, voxels, str(rng.choice(METHODS))), to_old
    if step == 1:
        degrees = rng.uniform(-6.0, 6.0, 3)
        size, centre = np.asarray(voxel_size), (np.asarray(scan.shape) - 1) / 2
        turn = np.asarray(spatial.rotation_matrix(jnp.asarray(degrees)), float).T
        to_old[:3, :3] = turn * size / size[:, None]
        to_old[:3, 3] = centre - to_old[:3, :3] @ centre
        return tilt(scan, degrees, voxel_size, str(rng.choice(["linear", "sinc"]))), to_old
    cubes = conform(scan, voxel_size, method=str(rng.choice(METHODS[:2])))
    scale = 1.0 / np.asarray(voxel_size)
    to_old[:3, :3] = np.diag(scale)
    to_old[:3, 3] = ((np.asarray(scan.shape) - 1) - scale * (np.asarray(cubes.shape) - 1)) / 2
    return cubes, to_old


def random_scale(rng: np.random.Generator, scan: ImageLike) -> Image:
    """One step of intensities alone: standardised, clipped, or in 60 to 255 grey values."""
    step = rng.integers(3)
    if step == 0:
        return standardise(scan)
    if step == 1:
        return clip(scan, float(rng.uniform(0.0, 1.0)), float(rng.uniform(97.0, 99.9)))
    return quantise(scan, int(rng.integers(60, 256)))
