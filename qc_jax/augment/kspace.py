"""k-space artefacts: RF spike, noise, blur and wrap-around (section 4).

A `KSpace` holds the half spectra (`jnp.fft.rfftn`) of the in-phase and the quadrature channel of a
complex image, so that a real FFT serves artefacts that make the image complex: noise becomes Rician
only because of the second channel.  Indices are those of `fftfreq`, the zero frequency first.

Every artefact stands here twice: deterministic (`add_spike`, the parameters given) and random
(`spike`, a pure function of key, k-space and severity that draws the rest).  Severities are in the
unit of the artefact; at its `none` value an artefact is the identity.
"""

import dataclasses
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KSpace:
    """Half spectra of a complex image.

    Attributes:
      data: `(2, X, Y, Z // 2 + 1)` complex64, channel 0 in phase and channel 1 in quadrature.
      shape: `(X, Y, Z)` of the image.
    """

    data: jax.Array
    shape: tuple[int, int, int] = dataclasses.field(metadata={"static": True})


@dataclasses.dataclass(frozen=True)
class Source:
    """An artefact that can be drawn and attributed: all that the rest of the library asks for.

    Attributes:
      name: short, lower case; names files, metrics and variance channels.
      apply: `(key, k_space, severity) -> k_space`, pure.
      mild, severe: ends of the range of severities, in `unit`.
      none: the severity at which `apply` is the identity.
      unit: what a severity counts.
    """

    name: str
    apply: Callable[[jax.Array, KSpace, jax.Array], KSpace]
    mild: float
    severe: float
    none: float
    unit: str

    def severity(self, fraction: jax.Array | float) -> jax.Array | float:
        """The severity at `fraction` of the way from mild (0) to severe (1)."""
        return self.mild + fraction * (self.severe - self.mild)


def to_k_space(image: jax.Array) -> KSpace:
    """`(X, Y, Z)` real image to its k-space; the quadrature channel is empty."""
    chex.assert_rank(image, 3)
    in_phase = jnp.fft.rfftn(image)
    return KSpace(jnp.stack([in_phase, jnp.zeros_like(in_phase)]), image.shape)


def to_channels(k_space: KSpace) -> jax.Array:
    """The complex image as its in-phase and quadrature parts, `(2, X, Y, Z)` float."""
    return jnp.fft.irfftn(k_space.data, s=k_space.shape, axes=(1, 2, 3))


def to_image(k_space: KSpace) -> jax.Array:
    """`(X, Y, Z)` magnitude image, not scaled."""
    in_phase, quadrature = to_channels(k_space)
    squared = in_phase**2 + quadrature**2
    positive = squared > 0  # the root has no gradient at zero
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def filter_lines(
    k_space: KSpace, axis: jax.Array | int, transfer: Callable[[np.ndarray], jax.Array]
) -> KSpace:
    """Multiplies the k-space lines along one axis by a transfer function.

    Args:
      k_space: what to filter.
      axis: 0, 1 or 2; may be traced.
      transfer: `(line numbers, int (n,)) -> (n,)` real or complex.  The line numbers are in
        `fftfreq` order: 0, 1, ..., -2, -1.

    Returns:
      The k-space, each channel still a half spectrum.  Where lines k and -k are treated
      differently the image becomes complex: t = h + i q with Hermitian h and q acts on the channels
      I + iQ as (h I - q Q) + i (q I + h Q).
    """
    hermitian, quadrature = 1.0, 0.0
    for a, size in enumerate(k_space.shape):
        lines = np.rint(np.fft.fftfreq(size) * size).astype(int)
        t = transfer(lines)
        opposite = jnp.conj(t[-np.arange(size) % size])
        h, q = (t + opposite) / 2, (t - opposite) / 2j
        along = tuple(slice(None) if i == a else None for i in range(3))
        kept = slice(0, k_space.data.shape[1 + a])
        chosen = jnp.equal(axis, a)
        hermitian = hermitian * jnp.where(chosen, h[kept], 1.0)[along]
        quadrature = quadrature + jnp.where(chosen, q[kept], 0.0)[along]
    in_phase, in_quadrature = k_space.data
    filtered = jnp.stack(
        [
            hermitian * in_phase - quadrature * in_quadrature,
            quadrature * in_phase + hermitian * in_quadrature,
        ]
    )
    return KSpace(filtered.astype(k_space.data.dtype), k_space.shape)


def mean_intensity(k_space: KSpace) -> jax.Array:
    """Magnitude of the image's mean, from the zero frequency."""
    return jnp.linalg.norm(k_space.data[:, 0, 0, 0]) / np.prod(k_space.shape)


def mean_power(k_space: KSpace) -> jax.Array:
    """Mean squared magnitude of the image, by Parseval's theorem."""
    squared = jnp.real(k_space.data) ** 2 + jnp.imag(k_space.data) ** 2
    once = jnp.sum(squared[..., 0])
    if k_space.shape[2] % 2 == 0:
        once += jnp.sum(squared[..., -1])
    return (2.0 * jnp.sum(squared) - once) / np.prod(k_space.shape).astype(np.float64) ** 2


# -- RF spike ----------------------------------------------------------------------------------


def add_spike(
    k_space: KSpace,
    location: jax.Array | Sequence[int],
    severity: jax.Array | float,
    phase: jax.Array | float = 0.0,
) -> KSpace:
    """One sample of k-space far too strong: the stripes exp(2 pi i k.x + phase) over the image.

    Args:
      k_space: what to spoil.
      location: three indices (negative ones count from the end), the frequency of the stripes in
        cycles per field of view.
      severity: amplitude of the stripes over the mean intensity of the image; 0 is none.
      phase: in radians.
    """
    shape = jnp.asarray(k_space.shape)
    location = jnp.asarray(location) % shape
    amplitude = severity * mean_intensity(k_space) * np.prod(k_space.shape)
    spike = amplitude * jnp.exp(1j * jnp.asarray(phase))
    # exp(i theta) = cos theta + i sin theta: a real channel each, half of it at k, half at -k.
    # A bin that is its own opposite (zero, Nyquist) collects both halves.
    opposite = -location % shape
    cosine, sine = spike / 2, spike / 2j
    columns = k_space.data.shape[3]

    def add(data, index, values):
        inside = index[2] < columns
        values = jnp.where(inside, jnp.stack(values), 0.0).astype(data.dtype)
        return data.at[:, index[0], index[1], jnp.minimum(index[2], columns - 1)].add(values)

    data = add(k_space.data, location, [cosine, sine])
    data = add(data, opposite, [jnp.conj(cosine), jnp.conj(sine)])
    return KSpace(data, k_space.shape)


def spike(key: jax.Array, k_space: KSpace, severity: jax.Array, most: int = 3) -> KSpace:
    """One to `most` spikes, uniform over k-space less the zero frequency, sharing `severity`."""
    number_key, location_key, phase_key = jax.random.split(key, 3)
    number = jax.random.randint(number_key, (), 1, most + 1)
    flat = jax.random.randint(location_key, (most,), 1, int(np.prod(k_space.shape)))
    locations = jnp.stack(jnp.unravel_index(flat, k_space.shape), axis=-1)
    phases = jax.random.uniform(phase_key, (most,), maxval=2 * jnp.pi)
    for i in range(most):
        share = jnp.where(i < number, severity / jnp.sqrt(number), 0.0)
        k_space = add_spike(k_space, locations[i], share, phases[i])
    return k_space


# -- Noise -------------------------------------------------------------------------------------


def add_noise(k_space: KSpace, normal: jax.Array, snr_db: jax.Array | float) -> KSpace:
    """Adds complex Gaussian noise of equal variance at every sample.

    Args:
      k_space: what to spoil.
      normal: complex numbers whose real and imaginary parts are standard normal, shaped as
        `k_space.data`.
      snr_db: 10 log10(signal power / noise power) of the image, in dB; infinity is none.
    """
    voxels = np.prod(k_space.shape)
    # Noise power is 2 sigma^2 in the image, and voxels * sigma^2 per channel and sample in k-space,
    # half of it in the real part.  The inverse transform drops the anti-Hermitian half of what it
    # finds in the planes z = 0 and Nyquist, so these get twice the power.
    power = mean_power(k_space) * 10.0 ** (-jnp.asarray(snr_db) / 10.0)
    sigma = jnp.sqrt(power * voxels / 4.0)
    weight = np.ones(k_space.data.shape[3], np.float32)
    weight[0] = np.sqrt(2.0)
    if k_space.shape[2] % 2 == 0:
        weight[-1] = np.sqrt(2.0)
    return KSpace(
        k_space.data + (sigma * weight * normal).astype(k_space.data.dtype), k_space.shape
    )


def noise(key: jax.Array, k_space: KSpace, severity: jax.Array) -> KSpace:
    """Complex Gaussian noise at an SNR of `severity` dB; the magnitude becomes Rician."""
    return add_noise(k_space, _complex_normal(key, k_space.data.shape), severity)


def _complex_normal(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Box and Muller's transform, 16 random bits each for radius and angle.

    It halves the cost of the noise, which is that of its random numbers.  A voxel sums over all of
    k-space, so that the 65536 steps of a sample leave no trace in the image.
    """
    bits = jax.random.bits(key, shape)
    radius = jnp.sqrt(-2.0 * jnp.log(((bits >> 16).astype(jnp.float32) + 0.5) / 65536))
    angle = (bits & 0xFFFF).astype(jnp.float32) * (2.0 * jnp.pi / 65536)
    return jax.lax.complex(radius * jnp.cos(angle), radius * jnp.sin(angle))


# -- Blur --------------------------------------------------------------------------------------


def low_pass(k_space: KSpace, axis: jax.Array | int, ratio: jax.Array | float) -> KSpace:
    """Truncates k-space along one axis, as an acquisition of lower resolution.

    Args:
      k_space: what to blur.
      axis: 0, 1 or 2.
      ratio: down-sampling ratio; lines within `n / (2 ratio)` of the zero frequency stay; 1 is
        none.
    """
    size = jnp.asarray(k_space.shape)[axis]
    return filter_lines(
        k_space, axis, lambda lines: (jnp.abs(lines) * 2.0 * ratio <= size).astype(jnp.float32)
    )


def blur(key: jax.Array, k_space: KSpace, severity: jax.Array) -> KSpace:
    """Down-sampling by the ratio `severity` along a random axis."""
    return low_pass(k_space, jax.random.randint(key, (), 0, 3), severity)


# -- Wrap-around -------------------------------------------------------------------------------


def mask_lines(k_space: KSpace, axis: jax.Array | int, masked: Callable) -> KSpace:
    """Sets k-space lines along one axis to zero, the zero-frequency line excepted.

    Args:
      k_space: what to spoil.
      axis: 0, 1 or 2.
      masked: `(line numbers, int (n,)) -> bool (n,)`.
    """
    return filter_lines(
        k_space, axis, lambda lines: 1.0 - (masked(lines) & (lines != 0)).astype(jnp.float32)
    )


def regular_lines(lines: np.ndarray, proportion: jax.Array | float) -> jax.Array:
    """Evenly spaced lines, `proportion` of them all: one in m for 1 / m, ghosts n / m apart."""
    # The zero-frequency line falls just before a masked one, never on it (proportion < 1).
    position = jnp.asarray(lines, jnp.float32) * proportion + 1e-4
    return jnp.floor(position + proportion) > jnp.floor(position)


def wrap(key: jax.Array, k_space: KSpace, severity: jax.Array) -> KSpace:
    """Masks the proportion `severity` of the lines along a random axis, regularly or at random."""
    axis_key, regular_key, lines_key = jax.random.split(key, 3)
    axis = jax.random.randint(axis_key, (), 0, 3)
    regular = jax.random.bernoulli(regular_key)

    def masked(lines):
        drawn = jax.random.uniform(lines_key, lines.shape) < severity
        return jnp.where(regular, regular_lines(lines, severity), drawn)

    return mask_lines(k_space, axis, masked)


SOURCES: tuple[Source, ...] = (
    Source("spike", spike, 0.1, 2.0, 0.0, "stripe amplitude / mean intensity"),
    Source("noise", noise, 30.0, -10.0, float("inf"), "SNR in dB"),
    Source("blur", blur, 2.0, 12.0, 1.0, "down-sampling ratio"),
    Source("wrap", wrap, 0.1, 0.7, 0.0, "proportion of lines masked"),
)
"""The paper's sources, in the order in which they arise in the scanner."""
