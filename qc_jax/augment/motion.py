"""Motion: the head moves while k-space is filled line by line.

In the scanner: every event is a rigid movement from one moment on; the lines acquired after it
belong to the moved head.  The centre of k-space is acquired at rest here, so that the labels still
fit the image.

How it looks: arcs beside the edges of the head along one axis, edges that are blurred or double.

    K'(k) = K(k) before the event; after it K_R(k) exp(-2 pi i k.shift), K_R of the rotated head

References: R. Shaw, C. Sudre, S. Ourselin and M. J. Cardoso, "MRI k-space motion artefact
augmentation: model robustness and task-specific uncertainty", MIDL 2019.  M. Zaitsev, J. Maclaren
and M. Herbst, "Motion artifacts in MRI: a complex problem with many partial solutions", Journal of
Magnetic Resonance Imaging 42, 2015.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Array, Axis, Float, Image, ImageLike, Key, KSpace, Number, Real, Triple
from qc_jax.augment.kspace import filter_lines, to_k_space
from qc_jax.augment.source import Source


def move(k_space: KSpace, degrees: Real[Array, "3"], shift: Real[Array, "3"]) -> KSpace:
    """The k-space of the head after a rigid movement.

    Args:
      k_space: of a real image.
      degrees: `(3,)` rotation, see `rotate`.
      shift: `(3,)` fraction of the field of view.

    Example:
      A point moves by a quarter of the field of view:

      >>> from qc_jax.augment import to_image
      >>> point = jnp.zeros((8, 8, 8)).at[3, 4, 4].set(1.0)
      >>> moved = move(to_k_space(point), jnp.zeros(3), jnp.array([0.25, 0.0, 0.0]))
      >>> int(jnp.argmax(to_image(moved)[:, 4, 4]))
      5
    """
    moved = to_k_space(rotate(jnp.real(jnp.fft.ifftn(k_space)), degrees))
    for axis in range(3):
        moved = filter_lines(moved, axis, functools.partial(_shifted, shift[axis]))
    return moved


def rotate(
    image: ImageLike, degrees: Real[Array, "3"], voxel_size: Triple = (1.0, 1.0, 1.0)
) -> Image:
    """Rotates about x, y and z, in this order, through the centre, without loss of resolution.

    A rotation in a plane is three shears, and a shear shifts lines, which Fourier's shift theorem
    does exactly (Eddy, Fitzgerald and Noll 1996).  Trilinear interpolation blurs: the lines of the
    moved head would be weaker than those at rest, which gives motion away and no scanner does.

    Args:
      image: `(X, Y, Z)`; what leaves the field of view comes in on the other side.
      degrees: `(3,)`.
      voxel_size: `(3,)` along the axes, in any unit.
    """
    shear = functools.partial(_shear_lines, voxel_size)
    (tx, ty, tz), (sx, sy, sz) = jnp.tan(jnp.deg2rad(degrees) / 2), jnp.sin(jnp.deg2rad(degrees))
    image = shear(image, 2, (0.0, tx, 0.0))
    image = shear(image, 1, (0.0, 0.0, -sx))
    image = shear(image, 2, (-ty, tx, 0.0))  # the last about x and the first about y
    image = shear(image, 0, (0.0, 0.0, sy))
    image = shear(image, 2, (-ty, 0.0, 0.0))
    image = shear(image, 0, (0.0, -tz, 0.0))
    image = shear(image, 1, (sz, 0.0, 0.0))
    return shear(image, 0, (0.0, -tz, 0.0))


def _shear_lines(
    voxel_size: Triple,
    image: ImageLike,
    axis: int,
    slopes: Sequence[Number],
) -> Image:
    """Shifts lines along `axis` by the sum of slope times distance from the centre."""
    shift = jnp.zeros(())
    for a, size in enumerate(image.shape):
        if a != axis:
            centred = np.arange(size, dtype=np.float32) - (size - 1) / 2
            centred *= np.float32(voxel_size[a] / voxel_size[axis])
            shift += slopes[a] * jnp.expand_dims(centred, [b for b in range(3) if b != a])
    size = image.shape[axis]
    frequency = np.expand_dims(np.fft.rfftfreq(size), [a for a in range(3) if a != axis])
    phase = jnp.exp(-2j * jnp.pi * frequency.astype(np.float32) * shift)
    return jnp.fft.irfft(jnp.fft.rfft(image, axis=axis) * phase, size, axis=axis)


def _shifted(shift: jax.Array, lines: np.ndarray) -> jax.Array:
    return jnp.exp(-2j * jnp.pi * lines * shift)


def replace_lines(
    k_space: KSpace,
    moved: KSpace,
    axis: Axis,
    start: Number,
) -> KSpace:
    """Takes the lines on one side of the centre from the k-space of the moved head.

    Args:
      k_space: at rest.
      moved: after the event.
      axis: along which the lines follow each other.
      start: of the event, in (-1, 1), 0 the centre of k-space and 1 its end: lines beyond it, on
        its side of the centre, are from `moved`.
    """

    def after(lines: np.ndarray) -> jax.Array:
        time = jnp.asarray(2.0 * lines / len(lines))
        return time * jnp.sign(start) > jnp.abs(start)

    rest = filter_lines(k_space, axis, lambda lines: jnp.where(after(lines), 0.0, 1.0))
    return rest + filter_lines(moved, axis, lambda lines: jnp.where(after(lines), 1.0, 0.0))


def motion(key: Key, k_space: KSpace, severity: Number, events: int = 2) -> KSpace:
    """Random events: a rotation of `severity` degrees, a shift of 0.5 % of the field per degree.

    They begin at random moments outside the innermost twentieth of the lines along a random axis.
    """
    axis_key, *event_keys = jax.random.split(key, 1 + events)
    axis = jax.random.randint(axis_key, (), 0, 3)

    def happen(spoilt, event_key):
        degrees_key, shift_key, start_key, side_key = jax.random.split(event_key, 4)
        # Directions at random, sizes not: the severity says how far the head moves.
        degrees = severity * _direction(degrees_key)
        shift = 0.005 * severity * _direction(shift_key)
        start = jax.random.uniform(start_key, minval=0.05, maxval=0.5)
        start *= jnp.where(jax.random.bernoulli(side_key), 1.0, -1.0)
        return replace_lines(spoilt, move(k_space, degrees, shift), axis, start), None

    return jax.lax.scan(happen, k_space, jnp.stack(event_keys))[0]


def _direction(key: Key) -> Float[jax.Array, "3"]:
    normal = jax.random.normal(key, (3,))
    return normal / jnp.linalg.norm(normal)


MOTION = Source(
    name="motion",
    apply=motion,
    mild=1.0,
    severe=10.0,
    none=0.0,
    unit="rotation in degrees, shift in half percent",
    looks="The head moved during the scan: blurred, doubled edges along one direction.",
)
