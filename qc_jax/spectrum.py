"""The power spectrum of a window in a few numbers.

Artefacts arise in k-space and are plain there: a spike is one sample far above its neighbours,
noise a floor, blur an edge along one axis.  Convolutions see little of that, and instance norm
takes the level away.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

_BINS = 8
_SHELLS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.75)
"""Radii in units of the Nyquist frequency."""
_FLOOR = 1e-6
"""Power that counts as none: the noise of a scan with 45 dB of SNR."""
SIZE = 3 * (1 + _BINS) + 3 * (len(_SHELLS) - 1)
"""Numbers for each window."""


def describe(image: jax.Array) -> jax.Array:
    """The spectrum of each window: profiles along the axes, and level, peak and flatness in shells.

    The window is tapered (Hann), its mean taken away; the power is that of each frequency over the
    number of voxels, so that white noise of variance v has the power v whatever the window.  Along
    each axis the mean power in the plane of frequency 0 and in 8 bins up to the Nyquist frequency;
    in each of 10 shells the logarithm of the mean, of the maximum over the mean, and of the
    arithmetic over the geometric mean.  Numbers are scaled to about unit spread.  A bin that a
    small window has no frequency in counts as empty of power.

    Args:
      image: `(B, X, Y, Z)`, in [0, 1].

    Returns:
      `(B, SIZE)`.
    """
    shape = image.shape[1:]
    tapers = [jnp.asarray(np.hanning(size + 2)[1:-1], jnp.float32) for size in shape]
    taper = tapers[0][:, None, None] * tapers[1][:, None] * tapers[2]
    centred = image - jnp.mean(image, axis=(1, 2, 3), keepdims=True)
    power = jnp.square(jnp.abs(jnp.fft.rfftn(centred * taper, axes=(1, 2, 3))))
    power = power / jnp.sum(jnp.square(taper))
    frequencies = [2 * np.abs(np.fft.fftfreq(size)) for size in shape[:2]]
    frequencies.append(2 * np.fft.rfftfreq(shape[2]))
    # The other half of k-space, which a real FFT leaves out, mirrors this one.
    counts = np.where((frequencies[2] == 0) | (frequencies[2] == 1), 1.0, 2.0).astype(np.float32)
    weighted = power * counts

    counts_everywhere = np.broadcast_to(counts, power.shape[1:])

    found = []
    for axis, frequency in enumerate(frequencies):
        others = tuple(a for a in range(3) if a != axis)
        planes = jnp.sum(weighted, axis=tuple(1 + a for a in others))
        in_plane = counts_everywhere.sum(axis=others)
        bins = np.ceil(frequency * _BINS - 1e-6).astype(int)[:, None] == np.arange(1 + _BINS)
        number = np.maximum(in_plane @ bins, 1.0)
        found.append((_log(planes @ bins.astype(np.float32) / number) + 5.0) / 3.0)

    radius = np.sqrt(
        frequencies[0][:, None, None] ** 2 + frequencies[1][:, None] ** 2 + frequencies[2] ** 2
    )
    log_power = _log(power) * counts
    for low, high in itertools.pairwise(_SHELLS):
        inside = (radius > low + 1e-6) & (radius <= high + 1e-6)
        number = max(float((inside * counts).sum()), 1.0)
        mean = jnp.sum(jnp.where(inside, weighted, 0.0), axis=(1, 2, 3)) / number
        geometric = jnp.sum(jnp.where(inside, log_power, 0.0), axis=(1, 2, 3)) / number
        peak = jnp.max(jnp.where(inside, power, 0.0), axis=(1, 2, 3))
        level = _log(mean)
        numbers = [(level + 5.0) / 3.0, _log(peak) - level - 3.0, level - geometric - 1.0]
        found.append(jnp.stack(numbers, axis=-1))
    return jnp.concatenate(found, axis=-1)


def _log(power: jax.Array) -> jax.Array:
    return jnp.log(power + _FLOOR)
