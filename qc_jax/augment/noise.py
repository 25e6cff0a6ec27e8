"""Noise: too little signal for the voxel size, the field strength or the time of the scan.

In the scanner: the body and the receiver add Gaussian noise of one variance to the real and the
imaginary part of every sample.

How it looks: grain everywhere, and air that is not black, since the magnitude has no negative
values: it follows Rice's distribution (Gudbjartsson and Patz 1995).

    K' = K + sigma * normal,    SNR = 10 log10(power of the image / power of the noise)

Reference: H. Gudbjartsson and S. Patz, "The Rician distribution of noisy MRI data", Magnetic
Resonance in Medicine 34, 1995.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Key, KSpace, Number
from qc_jax.augment.kspace import mean_power
from qc_jax.augment.source import Source


def add_noise(k_space: KSpace, normal: KSpace, snr_db: Number) -> KSpace:
    """Adds complex Gaussian noise of equal variance at every sample.

    Args:
      k_space: what to spoil.
      normal: `(X, Y, Z)` complex numbers whose real and imaginary parts have mean 0 and variance 1.
      snr_db: 10 log10(signal power / noise power) of the image, in dB; infinity is none.

    Example:
      At 20 dB the noise has a tenth of the root mean square of the image:

      >>> from qc_jax.augment import to_k_space
      >>> k_space = to_k_space(jnp.ones((32, 32, 32)))
      >>> noisy = add_noise(k_space, complex_normal(jax.random.key(0), k_space.shape), 20.0)
      >>> f"{jnp.std(jnp.fft.ifftn(noisy - k_space)):.2f}"
      '0.10'
    """
    power = mean_power(k_space) * 10.0 ** (-jnp.asarray(snr_db) / 10.0)
    sigma = jnp.sqrt(power * k_space.size / 2.0)
    return k_space + (sigma * normal).astype(k_space.dtype)


def noise(key: Key, k_space: KSpace, severity: Number) -> KSpace:
    """Complex Gaussian noise at an SNR of `severity` dB; the magnitude becomes Rician."""
    return add_noise(k_space, complex_normal(key, k_space.shape), severity)


def complex_normal(key: Key, shape: Sequence[int]) -> KSpace:
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


NOISE = Source(
    name="noise",
    apply=noise,
    mild=30.0,
    severe=-10.0,
    none=float("inf"),
    unit="SNR in dB",
    looks="Grain everywhere, most where the signal is weak.",
)
