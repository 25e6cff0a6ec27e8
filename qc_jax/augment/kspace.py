"""k-space artefacts: RF spike, noise, blur and wrap-around (section 4).

A k-space is `(X, Y, Z)` complex64, the Fourier transform of the image in the order of `fftfreq`,
the zero frequency first.  It need not be Hermitian: the image of a spike or of noise is complex,
which is what makes noise Rician in the magnitude.

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


@dataclasses.dataclass(frozen=True)
class Source:
    """An artefact that can be drawn and attributed: all that the rest of the library asks for.

    Attributes:
      name: short, lower case; names files, metrics and variance channels, see `check_name`.
      apply: `(key, k_space, severity) -> k_space`, pure.
      mild, severe: ends of the range of severities, in `unit`.
      none: the severity at which `apply` is the identity.
      unit: what a severity counts.
    """

    name: str
    apply: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    mild: float
    severe: float
    none: float
    unit: str

    def __post_init__(self) -> None:
        check_name(self.name)

    def severity(self, fraction: jax.Array | float) -> jax.Array | float:
        """The severity at `fraction` of the way from mild (0) to severe (1)."""
        return self.mild + fraction * (self.severe - self.mild)


_RESERVED = ("task", "none", "mixture")
"""What is said beside the sources, of the anatomy itself, of no artefact and of several."""


def check_name(name: str) -> None:
    """Raises ValueError for what cannot name a source: a letter, then letters, digits and _ are
    needed, so that it is safe as the name of a file and in a page, and stands for nothing else."""
    identifier = isinstance(name, str) and name.isidentifier() and name.isascii()
    if not identifier or name.startswith("_") or len(name) > 64 or name in _RESERVED:
        raise ValueError(
            f"{name!r} cannot name a source: take a letter, then letters, digits and _, and not "
            f"{' or '.join(_RESERVED)}"
        )


def to_k_space(image: jax.Array) -> jax.Array:
    """`(X, Y, Z)` real image to its k-space, by a real FFT: the other half is its mirror image."""
    chex.assert_rank(image, 3)
    half = jnp.fft.rfftn(image)
    # The sample at -k is the conjugate of that at k: reversed, and the zero frequency first again.
    mirrored = jnp.flip(half[:, :, 1 : (image.shape[2] + 1) // 2])
    mirrored = jnp.conj(jnp.roll(mirrored, (1, 1), (0, 1)))
    return jnp.concatenate([half, mirrored], axis=2)


def to_image(k_space: jax.Array) -> jax.Array:
    """`(X, Y, Z)` magnitude image, not scaled."""
    image = jnp.fft.ifftn(k_space)
    squared = jnp.real(image) ** 2 + jnp.imag(image) ** 2
    positive = squared > 0  # the root has no gradient at zero
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def filter_lines(
    k_space: jax.Array, axis: jax.Array | int, transfer: Callable[[np.ndarray], jax.Array]
) -> jax.Array:
    """Multiplies the k-space lines along one axis by a transfer function.

    Args:
      k_space: what to filter.
      axis: 0, 1 or 2; may be traced.
      transfer: `(line numbers, int (n,)) -> (n,)` real or complex.  The line numbers are in
        `fftfreq` order: 0, 1, ..., -2, -1.
    """
    factor = jnp.ones(())
    for a, size in enumerate(k_space.shape):
        lines = np.rint(np.fft.fftfreq(size) * size).astype(int)
        along = tuple(slice(None) if i == a else None for i in range(3))
        factor = factor * jnp.where(jnp.equal(axis, a), transfer(lines), 1.0)[along]
    return (k_space * factor).astype(k_space.dtype)


def mean_intensity(k_space: jax.Array) -> jax.Array:
    """Magnitude of the image's mean, from the zero frequency."""
    return jnp.abs(k_space[0, 0, 0]) / k_space.size


def mean_power(k_space: jax.Array) -> jax.Array:
    """Mean squared magnitude of the image, by Parseval's theorem."""
    squared = jnp.real(k_space) ** 2 + jnp.imag(k_space) ** 2
    return jnp.sum(squared / k_space.size) / k_space.size


# -- RF spike ----------------------------------------------------------------------------------


def add_spike(
    k_space: jax.Array,
    location: jax.Array | Sequence[int],
    severity: jax.Array | float,
    phase: jax.Array | float = 0.0,
) -> jax.Array:
    """Samples of k-space far too strong: stripes exp(2 pi i k.x + phase) over the image.

    Args:
      k_space: what to spoil.
      location: `(3,)` indices (negative ones count from the end), the frequency of the stripes in
        cycles per field of view; or `(n, 3)` for n spikes.
      severity: amplitude of the stripes over the mean intensity of the image, one or `(n,)`; 0 is
        none.
      phase: in radians, one or `(n,)`.
    """
    location = jnp.moveaxis(jnp.asarray(location) % jnp.asarray(k_space.shape), -1, 0)
    amplitude = severity * mean_intensity(k_space) * k_space.size
    return k_space.at[tuple(location)].add(amplitude * jnp.exp(1j * jnp.asarray(phase)))


def spike(key: jax.Array, k_space: jax.Array, severity: jax.Array, most: int = 3) -> jax.Array:
    """One to `most` spikes, uniform over k-space less the zero frequency, sharing `severity`."""
    number_key, location_key, phase_key = jax.random.split(key, 3)
    number = jax.random.randint(number_key, (), 1, most + 1)
    flat = jax.random.randint(location_key, (most,), 1, k_space.size)
    locations = jnp.stack(jnp.unravel_index(flat, k_space.shape), axis=-1)
    phases = jax.random.uniform(phase_key, (most,), maxval=2 * jnp.pi)
    shares = jnp.where(jnp.arange(most) < number, severity / jnp.sqrt(number), 0.0)
    return add_spike(k_space, locations, shares, phases)


# -- Noise -------------------------------------------------------------------------------------


def add_noise(k_space: jax.Array, normal: jax.Array, snr_db: jax.Array | float) -> jax.Array:
    """Adds complex Gaussian noise of equal variance at every sample.

    Args:
      k_space: what to spoil.
      normal: `(X, Y, Z)` complex numbers whose real and imaginary parts have mean 0 and variance 1.
      snr_db: 10 log10(signal power / noise power) of the image, in dB; infinity is none.
    """
    power = mean_power(k_space) * 10.0 ** (-jnp.asarray(snr_db) / 10.0)
    sigma = jnp.sqrt(power * k_space.size / 2.0)
    return k_space + (sigma * normal).astype(k_space.dtype)


def noise(key: jax.Array, k_space: jax.Array, severity: jax.Array) -> jax.Array:
    """Complex Gaussian noise at an SNR of `severity` dB; the magnitude becomes Rician."""
    return add_noise(k_space, complex_normal(key, k_space.shape), severity)


def complex_normal(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Complex numbers, real and imaginary parts of mean 0 and variance 1, each from 8 coin flips.

    A voxel of the image sums over all of k-space, so that it is normal to within 1 / samples,
    whatever a sample's own distribution.  Counting bits costs a sixth of drawing normal numbers.
    """
    half = -(-shape[0] // 2)
    bits = jax.random.bits(key, (half, *shape[1:]))

    def count(shift):
        ones = jax.lax.population_count((bits >> shift) & 0xFF)
        return (ones.astype(jnp.int32) - 4).astype(jnp.float32) * np.float32(0.5**0.5)

    numbers = [jax.lax.complex(count(0), count(8)), jax.lax.complex(count(16), count(24))]
    return jnp.concatenate(numbers)[: shape[0]]


# -- Blur --------------------------------------------------------------------------------------


def low_pass(k_space: jax.Array, axis: jax.Array | int, ratio: jax.Array | float) -> jax.Array:
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


def blur(key: jax.Array, k_space: jax.Array, severity: jax.Array) -> jax.Array:
    """Down-sampling by the ratio `severity` along a random axis."""
    return low_pass(k_space, jax.random.randint(key, (), 0, 3), severity)


# -- Wrap-around -------------------------------------------------------------------------------


def mask_lines(k_space: jax.Array, axis: jax.Array | int, masked: Callable) -> jax.Array:
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


def wrap(key: jax.Array, k_space: jax.Array, severity: jax.Array) -> jax.Array:
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
