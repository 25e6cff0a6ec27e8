"""The power spectrum of a patch or of a whole scan in a few numbers.

Artefacts arise in k-space and are plain there: a spike is one sample far above its neighbours,
noise a floor, blur an edge along one axis, ghosts and missing lines a ripple from line to line.
Convolutions see little of that, and instance norm takes the level away.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

BINS = 8
"""Along an axis, up to the Nyquist frequency."""
SHELLS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.75)
"""Radii in units of the Nyquist frequency."""
FLOOR = 1e-6
"""Power that counts as none: the noise of a scan with 45 dB of SNR."""
SIZE = 3 * (1 + BINS) + 3 * (len(SHELLS) - 1)
"""Numbers for each patch."""
BANDS = 6
"""Of ripples and of echoes along an axis."""
ECHO_FREQUENCIES = (0.15, 0.9)
"""Of the autocorrelation, in units of the Nyquist frequency: edges and folds without the shape of
the head, and without the noise in the corners of k-space."""
SCAN_SIZE = SIZE + 2 * 3 * BANDS
"""Numbers for each scan."""


@jax.jit
def describe(image: jax.Array) -> jax.Array:
    """The spectrum of each patch: profiles along the axes, and level, peak and flatness in shells.

    The patch is tapered (Hann), its mean taken away; the power is that of each frequency over the
    number of voxels, so that white noise of variance v has the power v whatever the patch.  Along
    each axis the mean power in the plane of frequency 0 and in 8 bins up to the Nyquist frequency;
    in each of 10 shells the logarithm of the mean, of the maximum over the mean, and of the
    arithmetic over the geometric mean.  Numbers are scaled to about unit spread.  A bin that a
    small patch has no frequency in counts as empty of power.

    Args:
      image: `(B, X, Y, Z)`, in [0, 1].

    Returns:
      `(B, SIZE)`.
    """
    shape = image.shape[1:]
    tapers = [jnp.asarray(np.hanning(size + 2)[1:-1], jnp.float32) for size in shape]
    taper = tapers[0][:, None, None] * tapers[1][:, None] * tapers[2]
    power = _power(image, taper)
    frequencies, counts = _frequencies(shape)
    weighted = power * counts
    everywhere = np.broadcast_to(counts, power.shape[1:])

    found = []
    for axis, frequency in enumerate(frequencies):
        others = tuple(a for a in range(3) if a != axis)
        planes = jnp.sum(weighted, axis=tuple(1 + a for a in others))
        in_plane = everywhere.sum(axis=others)
        bins = np.ceil(frequency * BINS - 1e-6).astype(int)[:, None] == np.arange(1 + BINS)
        number = np.maximum(in_plane @ bins, 1.0)
        found.append((_log(planes @ bins.astype(np.float32) / number) + 5.0) / 3.0)

    # Sorted by shell, each is one slice: quicker than a mask for each.
    shell = np.searchsorted(np.array(SHELLS) + 1e-6, _radius(frequencies).ravel())
    order = np.argsort(shell, kind="stable")
    power = power.reshape(len(image), -1)[:, order]
    counts = everywhere.ravel()[order].astype(np.float32)
    log_power = _log(power)
    borders = np.searchsorted(shell[order], np.arange(1, len(SHELLS) + 1))
    for first, last in itertools.pairwise(borders):
        inside, weight = slice(first, last), counts[first:last]
        number = max(float(weight.sum()), 1.0)
        level = _log(power[:, inside] @ weight / number)
        geometric = log_power[:, inside] @ weight / number
        peak = _log(jnp.max(power[:, inside], axis=1, initial=0.0))
        numbers = [(level + 5.0) / 3.0, peak - level - 3.0, level - geometric - 1.0]
        found.append(jnp.stack(numbers, axis=-1))
    return jnp.concatenate(found, axis=-1)


@jax.jit
def describe_scan(image: jax.Array) -> jax.Array:
    """The spectrum of each whole scan: as that of a patch, and ripple and echoes along the axes.

    The ripple is how much the mean log power of a line differs from its neighbours', in 6 bands up
    to the Nyquist frequency; missing lines make it.  Echoes are the jumps in the autocorrelation of
    edges and folds, in 6 bands of distance up to half of the field of view; a ghost is one.

    Args:
      image: `(B, X, Y, Z)`, in [0, 1].

    Returns:
      `(B, SCAN_SIZE)`.
    """
    shape = image.shape[1:]
    power = _power(image, jnp.ones(()))
    frequencies, counts = _frequencies(shape)
    log_power = _log(power) * counts
    radius = _radius(frequencies)
    low, high = ECHO_FREQUENCIES
    middle = power * (counts * ((radius > low + 1e-6) & (radius <= high + 1e-6)))
    found = [describe(image)]
    for axis, size in enumerate(shape):
        others = tuple(1 + a for a in range(3) if a != axis)
        samples = np.broadcast_to(counts, power.shape[1:]).sum(axis=tuple(a - 1 for a in others))
        lines = _one_sided(jnp.sum(log_power, axis=others) / samples, size)
        ripple = _in_bands(jnp.square(_unevenness(lines[:, 1:])), jnp.mean)
        found.append(jnp.log(jnp.sqrt(ripple) + 1e-3) + 2.5)
        # The autocorrelation along an axis is the transform of the power summed over the others.
        planes = _one_sided(jnp.sum(middle, axis=others) / samples, size)
        line = jnp.fft.irfft(planes, size, axis=1)
        line = line / jnp.maximum(line[:, :1], FLOOR)
        # Half of the field of view, where most ghosts are, is an inner number as well.
        jumps = _in_bands(jnp.abs(_unevenness(line[:, size // 12 : size // 2 + 2])), jnp.max)
        found.append(jnp.log(jumps + 1e-4) + 5.0)
    return jnp.concatenate(found, axis=-1)


def _power(image: jax.Array, taper: jax.Array) -> jax.Array:
    """Half of the power spectrum, `(B, X, Y, Z // 2 + 1)`; white noise of variance v has v."""
    centred = image - jnp.mean(image, axis=(1, 2, 3), keepdims=True)
    k_space = jnp.fft.rfftn(centred * taper, axes=(1, 2, 3))
    squared = jnp.square(jnp.real(k_space)) + jnp.square(jnp.imag(k_space))
    return squared / jnp.sum(jnp.square(jnp.broadcast_to(taper, image.shape[1:])))


def _frequencies(shape: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Of a real FFT, along each axis in units of Nyquist's; and how often each along z counts."""
    frequencies = [2 * np.abs(np.fft.fftfreq(size)) for size in shape[:2]]
    frequencies.append(2 * np.fft.rfftfreq(shape[2]))
    # The other half of k-space, which a real FFT leaves out, mirrors this one.
    counts = np.where((frequencies[2] == 0) | (frequencies[2] == 1), 1.0, 2.0)
    return frequencies, counts.astype(np.float32)


def _radius(frequencies: list[np.ndarray]) -> np.ndarray:
    x, y, z = frequencies
    return np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)


def _one_sided(lines: jax.Array, size: int) -> jax.Array:
    """`(B, size)` in the order of `fftfreq`, or its half already, to the means of both sides."""
    half = size // 2 + 1
    if lines.shape[1] == half:
        return lines
    return 0.5 * (lines + jnp.roll(jnp.flip(lines, axis=1), 1, axis=1))[:, :half]


def _unevenness(line: jax.Array) -> jax.Array:
    """Difference of each inner number from the mean of its neighbours, along the second axis."""
    return line[:, 1:-1] - 0.5 * (line[:, :-2] + line[:, 2:])


def _in_bands(line: jax.Array, summary: Callable) -> jax.Array:
    """`(B, n)` to `(B, 6)`; 0 where a band has nothing in it."""
    bands = np.array_split(np.arange(line.shape[1]), BANDS)
    parts = [
        line[:, band[0] : band[-1] + 1] if band.size else jnp.zeros((len(line), 1))
        for band in bands
    ]
    return jnp.stack([summary(part, axis=1) for part in parts], axis=-1)


def _log(power: jax.Array) -> jax.Array:
    return jnp.log(power + FLOOR)
