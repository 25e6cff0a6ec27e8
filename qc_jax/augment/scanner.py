"""Artefacts in the k-space that a scanner samples, along the axes where they arise.

A k-space is `(C, X, Y, Z)` complex64, see `sampling`.  Ghosts, missing lines and their copies lie
along an axis on which one line follows the other, phase or partition, never along the readout.
Every artefact stands here twice: deterministic, and random with `(key, k_space, severity, plan)`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Array, Axis, CoilKSpace, Float, Int, Key, KSpace, Number
from qc_jax.augment import coils, kspace
from qc_jax.augment.protocol import Axes
from qc_jax.augment.spike import add_spike
from qc_jax.augment.wrap import regular_lines

_LONGEST = 60.0
"""mm of the stripes of a spike: longer ones look like a bias field."""


class Plan(NamedTuple):
    """What an artefact has to know of a protocol.

    Attributes:
      axes: encoding of each axis.
      slices: whether slices are excited one by one.
      field_of_view: `(3,)` mm.
      mixing: `(C, C)`, see `coils.mixing`.
    """

    axes: Axes
    slices: bool
    field_of_view: jax.Array | np.ndarray
    mixing: jax.Array | np.ndarray

    @property
    def encoded(self) -> tuple[int, ...]:
        """Axes along which lines follow each other."""
        return (self.axes.phase,) if self.slices else (self.axes.phase, self.axes.partition)


def filter_lines(
    k_space: CoilKSpace, axis: Axis, transfer: Callable[[np.ndarray], jax.Array]
) -> CoilKSpace:
    """`kspace.filter_lines` for every coil."""
    return jax.vmap(lambda of_coil: kspace.filter_lines(of_coil, axis, transfer))(k_space)


# -- Ghosting ----------------------------------------------------------------------------------


def modulate(
    k_space: CoilKSpace,
    axis: Axis,
    phase: Number,
    amplitude: Number,
    period: Number,
    offset: Number = 0.0,
    during: Sequence[Number] = (0.0, 1.0),
) -> CoilKSpace:
    """Multiplies line k by (1 + amplitude c) exp(i phase c), c = cos(2 pi k / period + offset).

    Breathing and pulsation change phase and amplitude of the lines periodically, and copies of the
    head lie n / period of the field of view away (Wood and Henkelman 1985).  At
    every other line (N/2 ghosts) the copy has |amplitude cos(phase) + i sin(phase)| over
    |cos(phase) + i amplitude sin(phase)| of the head, for offset 0.

    Args:
      k_space: `(C, X, Y, Z)`.
      axis: along which lines follow each other.
      phase: in radians; 0 is none.
      amplitude: relative; 0 is none.
      period: in lines.
      offset: in radians.
      during: from when to when of the scan, 0 to 1, in linear order; the centre of k-space is at
        0.5.
    """

    def transfer(lines: np.ndarray) -> jax.Array:
        moment = lines / len(lines) + 0.5
        wave = jnp.cos(2 * jnp.pi * lines / period + offset)
        factor = (1.0 + amplitude * wave) * jnp.exp(1j * phase * wave)
        return jnp.where((moment >= during[0]) & (moment <= during[1]), factor, 1.0)

    return filter_lines(k_space, axis, transfer)


def ghosting(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """Phase and amplitude change during the whole scan, every 2 to 12 lines, half the time 2;
    `severity` is about the intensity of the first ghost over that of the head."""
    return _ghosts(key, k_space, severity, plan, (0.0, 1.0))


def pulsation(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """As `ghosting`, but for a third to four fifths of the scan, that holds the centre or not."""
    length_key, start_key, key = jax.random.split(key, 3)
    length = jax.random.uniform(length_key, minval=0.33, maxval=0.8)
    start = jax.random.uniform(start_key, maxval=1.0 - length)
    return _ghosts(key, k_space, severity, plan, (start, start + length))


def _ghosts(key, k_space, severity, plan, during) -> CoilKSpace:
    axis_key, half_key, period_key, share_key, offset_key = jax.random.split(key, 5)
    axis = jax.random.choice(axis_key, jnp.asarray(plan.encoded))
    half = jax.random.bernoulli(half_key)
    drawn = jnp.exp(jax.random.uniform(period_key, minval=np.log(2.0), maxval=np.log(12.0)))
    period = jnp.where(half, 2.0, drawn)
    # Mostly of the phase.  Every other line the wave is taken at its crests.
    share = jax.random.uniform(share_key, maxval=0.35 * jnp.pi)
    offset = jnp.where(half, 0.0, jax.random.uniform(offset_key, maxval=2 * jnp.pi))
    # Every other line, a phase has a ghost of tan(phase) and an amplitude one of itself; else of
    # about half as much: J_1(phase) / J_0(phase), and amplitude / 2.
    times = jnp.where(half, 1.0, 2.0)
    phase = times * jnp.arctan(severity * jnp.cos(share))
    amplitude = jnp.minimum(times * severity * jnp.sin(share), 0.9)
    return modulate(k_space, axis, phase, amplitude, period, offset, during)


# -- RF spikes ---------------------------------------------------------------------------------


def head_intensity(k_space: KSpace) -> Float[jax.Array, ""]:
    """Mean intensity of the head, of the image weighted with itself, so that air does not count."""
    tiny = jnp.finfo(jnp.float32).tiny
    return kspace.mean_power(k_space) / jnp.maximum(kspace.mean_intensity(k_space), tiny)


def add_slice_spikes(
    k_space: KSpace,
    axis: int,
    location: Int[Array, "S 3"],
    amplitude: Float[Array, " S"],
    phase: Float[Array, " S"],
) -> KSpace:
    """A sample far too strong in the 2-D k-space of single slices: each has stripes of its own.

    Args:
      k_space: `(X, Y, Z)` of one coil.
      axis: across the slices.
      location: `(S, 3)` cycles per field of view in each slice; those across are not looked at.
      amplitude: `(S,)` of the stripes, in the unit of the image; 0 where a slice has none.
      phase: `(S,)` radians.
    """
    slices = k_space.shape[axis]
    index = [location[:, a] % size for a, size in enumerate(k_space.shape)]
    index[axis] = jnp.arange(slices)
    samples = amplitude * (k_space.size // slices) * jnp.exp(1j * phase)
    spikes = jnp.zeros_like(k_space).at[tuple(index)].add(samples.astype(k_space.dtype))
    return k_space + jnp.fft.fft(spikes, axis=axis)


def locations(
    key: Key,
    number: int,
    shape: Sequence[int],
    field_of_view: Float[Array, "3"],
    within: Sequence[int] = (0, 1, 2),
) -> Int[jax.Array, "{number} 3"]:
    """`(number, 3)` whole cycles per field of view of stripes as wide as narrow.

    The logarithm of the wavelength is uniform from 2.2 voxels to 60 mm, the direction uniform: were
    the location uniform over k-space, nearly all stripes would be as narrow as they can be.

    Args:
      key: typed key.
      number: of locations.
      shape: of k-space.
      field_of_view: `(3,)` mm.
      within: axes along which the stripes may vary.
    """
    length_key, direction_key = jax.random.split(key)
    within_mask = np.isin(np.arange(3), within)
    fov, size = jnp.asarray(field_of_view), np.asarray(shape)
    shortest = 2.2 * jnp.max(jnp.where(within_mask, fov / size, 0.0))
    limits = (jnp.log(jnp.minimum(shortest, 0.9 * _LONGEST)), np.log(_LONGEST))
    length = jnp.exp(
        jax.random.uniform(length_key, (number, 1), minval=limits[0], maxval=limits[1])
    )
    direction = jax.random.normal(direction_key, (number, 3)) * within_mask
    direction /= jnp.linalg.norm(direction, axis=1, keepdims=True)
    cycles = jnp.rint(fov / length * direction).astype(int)
    return jnp.clip(cycles, -((size - 1) // 2), (size - 1) // 2) * within_mask


def spike(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """One to three spikes in 3-D k-space, sharing `severity`: stripes through the whole head."""
    number_key, location_key, phase_key = jax.random.split(key, 3)
    number = jax.random.randint(number_key, (), 1, 4)
    where = locations(location_key, 3, k_space.shape[1:], plan.field_of_view)
    phases = jax.random.uniform(phase_key, (3,), maxval=2 * jnp.pi)
    shares = jnp.where(jnp.arange(3) < number, severity / jnp.sqrt(number), 0.0)

    def of_coil(k_space):
        unit = head_intensity(k_space) / kspace.mean_intensity(k_space)
        return add_spike(k_space, where, shares * unit, phases)

    return jax.vmap(of_coil)(k_space)


def slice_spikes(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """A spike in each of 10 to 60 % of the slices: stripes that differ from slice to slice."""
    share_key, hit_key, location_key, phase_key = jax.random.split(key, 4)
    across = plan.axes.partition
    slices = k_space.shape[1 + across]
    share = jax.random.uniform(share_key, minval=0.1, maxval=0.6)
    hit = jax.random.bernoulli(hit_key, share, (slices,))
    in_plane = [a for a in range(3) if a != across]
    where = locations(location_key, slices, k_space.shape[1:], plan.field_of_view, in_plane)
    phases = jax.random.uniform(phase_key, (slices,), maxval=2 * jnp.pi)

    def of_coil(k_space):
        amplitude = severity * head_intensity(k_space) * hit
        return add_slice_spikes(k_space, across, where, amplitude, phases)

    return jax.vmap(of_coil)(k_space)


# -- Noise -------------------------------------------------------------------------------------


def noise(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """See `coils.noise`."""
    return coils.noise(key, k_space, severity, plan.mixing)


# -- Blur --------------------------------------------------------------------------------------


def truncate(k_space: CoilKSpace, axis: int, width: Number, field_of_view: Number) -> CoilKSpace:
    """Leaves k-space only up to 1 / (2 width): voxels of `width` mm, and ringing at the edges."""

    def transfer(lines: np.ndarray) -> jax.Array:
        return (jnp.abs(lines) * 2.0 * width <= field_of_view).astype(jnp.float32)

    return filter_lines(k_space, axis, transfer)


def smooth(k_space: CoilKSpace, axis: int, width: Number, field_of_view: Number) -> CoilKSpace:
    """Weakens the outer lines, as decay during a long echo train or small movements: a Gaussian of
    `width` mm of full width at half maximum, without ringing; 0 is none."""

    def transfer(lines: np.ndarray) -> jax.Array:
        return jnp.exp(-jnp.square(np.pi * lines * width / field_of_view) / (4 * np.log(2)))

    return filter_lines(k_space, axis, transfer)


def blur(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """Lower resolution, `severity` mm along one axis or two, truncated or smooth."""
    order_key, both_key, smooth_key = jax.random.split(key, 3)
    order = jax.random.permutation(order_key, 3)
    both, is_smooth = jax.random.bernoulli(both_key), jax.random.bernoulli(smooth_key)
    fov = jnp.asarray(plan.field_of_view)
    for axis in range(3):
        chosen = (order[0] == axis) | ((order[1] == axis) & both)
        width = jnp.where(chosen, severity, 0.0)
        k_space = smooth(k_space, axis, jnp.where(is_smooth, width, 0.0), fov[axis])
        k_space = truncate(k_space, axis, jnp.where(is_smooth, 0.0, width), fov[axis])
    return k_space


# -- Lines that are missing --------------------------------------------------------------------


def missing_lines(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """The paper's wrap-around: `severity` of the lines masked, regularly or at random."""
    axis_key, regular_key, lines_key = jax.random.split(key, 3)
    axis = jax.random.choice(axis_key, jnp.asarray(plan.encoded))
    regular = jax.random.bernoulli(regular_key)

    def transfer(lines: np.ndarray) -> jax.Array:
        drawn = jax.random.uniform(lines_key, lines.shape) < severity
        masked = jnp.where(regular, regular_lines(lines, severity), drawn)
        return 1.0 - (masked & (lines != 0)).astype(jnp.float32)

    return filter_lines(k_space, axis, transfer)


def residue(key: Key, k_space: CoilKSpace, severity: Number, plan: Plan) -> CoilKSpace:
    """Undersampled twice; about `severity` of the missing lines' signal is not recovered."""
    share = jax.random.uniform(key, (len(k_space),), minval=0.4, maxval=1.6)
    return coils.leave_residue(k_space, plan.axes.phase, jnp.minimum(severity * share, 1.0))
