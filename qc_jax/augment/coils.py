"""Several receiver coils: smooth sensitivities, correlated noise, the residue of parallel imaging.

The magnitude of the noise is Rician for one coil and non-central chi for the root of the sum of
squares of several (Constantinides, Atalar and McVeigh 1997; Aja-Fernandez, Tristan-Vega 2012 for
correlated coils): air is not black, and the noise floor rises with the number of coils.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Array, CoilKSpace, Complex, Float, Key, Number
from qc_jax.augment import kspace
from qc_jax.augment.noise import complex_normal
from qc_jax.augment.protocol import Protocol

_DISTANCE, _WIDTH, _TURN = 0.5, 0.75, 0.3
"""Of a coil from the centre, width of its sensitivity, in fields of view of 256 mm; cycles of its
phase over it."""
_SIZE = 256.0


def profiles(
    protocol: Protocol, axis: int, position: Float[np.ndarray, " M"]
) -> Complex[np.ndarray, "C M"]:
    """`(C, N)` complex, what one axis contributes to each coil's sensitivity and to the phase.

    A coil sees a Gaussian around its place on a ring about the head, with a linear phase, which is
    a product of functions of one axis each; together the coils see the head within a fifth alike.
    One coil is a birdcage, alike everywhere.

    Args:
      protocol: of the scan.
      axis: 0, 1 or 2.
      position: `(N,)` mm from the centre of the image.
    """
    number = protocol.coils
    phase = np.exp(1j * protocol.phase[axis] * np.square(position / 100.0))
    if number == 1:
        return phase[None]
    angle = 2 * np.pi * (np.arange(number) + 0.5) / number
    # The ring is about the head's long axis; every other coil sits higher.
    place = np.stack([np.cos(angle), np.sin(angle), np.where(np.arange(number) % 2, 0.4, -0.4)])
    far = (position - _SIZE * _DISTANCE * place[axis][:, None]) / (_SIZE * _WIDTH)
    turn = 2j * np.pi * _TURN * place[axis][:, None] * position / _SIZE
    # In the middle of the head the sum of squares is about 1.
    middle = np.square(_DISTANCE * place / _WIDTH).sum(axis=0)
    scale = (number * np.mean(np.exp(-middle))) ** (-1 / 6)
    return scale * np.exp(-0.5 * np.square(far) + turn) * phase


def mixing(protocol: Protocol) -> Float[np.ndarray, "C C"]:
    """`(C, C)` lower triangular L, where L L^T is the correlation of the coils' noise: that of
    neighbours on the ring, and its powers further away."""
    number = protocol.coils
    apart = np.abs(np.subtract.outer(np.arange(number), np.arange(number)))
    correlation = protocol.correlation ** np.minimum(apart, number - apart)
    return np.linalg.cholesky(correlation + 1e-9 * np.eye(number))


def add_noise(
    k_space: CoilKSpace,
    normal: CoilKSpace,
    snr_db: Number,
    mixing: Float[Array, "C C"],
) -> CoilKSpace:
    """Adds complex Gaussian noise of equal variance at every sample, correlated between coils.

    Args:
      k_space: `(C, X, Y, Z)`.
      normal: of that shape, complex, real and imaginary parts of mean 0 and variance 1.
      snr_db: 10 log10(signal power of all coils / noise power of one), in dB, which for one coil is
        that of `noise.add_noise`; infinity is none.
      mixing: `(C, C)`, see `mixing`.
    """
    power = jnp.sum(jax.vmap(kspace.mean_power)(k_space)) * 10.0 ** (-jnp.asarray(snr_db) / 10.0)
    sigma = jnp.sqrt(power * k_space[0].size / 2.0)
    mixed = jnp.einsum("cd,dxyz->cxyz", jnp.asarray(mixing), normal) if len(mixing) > 1 else normal
    return k_space + (sigma * mixed).astype(k_space.dtype)


def noise(
    key: Key,
    k_space: CoilKSpace,
    severity: Number,
    mixing: Float[Array, "C C"],
) -> CoilKSpace:
    """Noise at an SNR of `severity` dB in every coil."""
    normal = complex_normal(key, (k_space.shape[0] * k_space.shape[1], *k_space.shape[2:]))
    return add_noise(k_space, normal.reshape(k_space.shape), severity, mixing)


def leave_residue(
    k_space: CoilKSpace, axis: int, weights: Sequence[float] | Float[Array, " C"]
) -> CoilKSpace:
    """What parallel imaging of every other line leaves: a faint copy half a field of view away.

    The lines that were not sampled are made of those that were (SENSE, GRAPPA); made too weak, by a
    share that differs from coil to coil, they leave half of that share of the head folded over it,
    brighter near some coils.

    Args:
      k_space: `(C, X, Y, Z)`.
      axis: along which every other line was left out, 0, 1 or 2.
      weights: `(C,)` share that is missing of the odd lines; 0 is none, 1 is no reconstruction.
    """
    size = k_space.shape[1 + axis]
    odd = np.rint(np.fft.fftfreq(size) * size).astype(int) % 2
    odd = np.expand_dims(odd, [a for a in range(3) if a != axis])
    weights = jnp.asarray(weights)[:, None, None, None]
    return (k_space * (1.0 - weights * odd)).astype(k_space.dtype)
