"""The k-space of a scan on its own grid, and what stands out in it: evidence for the eye.

What an artefact is in k-space it is on the grid of the scan alone: a spike is one sample, a
low-pass an edge, noise a floor.  Nothing here changes a score.  Frequencies are in cycles per mm;
power is over the number of voxels and in units of a level squared, so that white noise of a
standard deviation of one hundredth of that level has the power 1e-4 on any matrix.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from qc_jax.scoring.copies import AXES

_FLOOR = 1e-12
"""Power that counts as none."""
_LOWEST = 0.08
"""Cycles per mm below which the head itself is as uneven as a spike."""
_OWN, _AROUND = 5, 11
"""Samples along the edge of the boxes that a spike may fill and that it has to stand out from: a
magnitude image has its stripes in the head alone, so that the sample is as wide as the head is
narrow."""
_STANDS_OUT, _ALONE = 40.0, 6.0
"""Power of a spike over the mean and over the highest of the samples around it.  The highest of ten
million samples of noise is 16 times their mean."""
_MOST_SPIKES = 3
_STEP, _STEEP = 3, 0.6
"""Lines on each side of an edge; natural logarithm of the power that is lost there, on average over
a line of k-space."""
_CORNER = 0.8
"""Share of the Nyquist frequencies of all axes from which on only noise is left."""
_EMPTY = 1e-4
"""Noise over the level that is less than any scanner has: k-space ends before."""


class Spike(NamedTuple):
    """A sample of k-space that stands far above those around it.

    Attributes:
      frequency: along x, y and z, in cycles per mm.
      excess: its power over the mean of those around it.
    """

    frequency: tuple[float, float, float]
    excess: float

    @property
    def sentence(self) -> str:
        """The stripes that it draws over the whole scan."""
        size = float(np.linalg.norm(self.frequency))
        shares = np.abs(self.frequency) / size
        along = [f"{AXES[a]}" for a in np.argsort(-shares) if shares[a] > 0.3]
        return (
            f"a spike at {size:.2f} cycles per mm, {self.excess:.0f} times what is around it: "
            f"stripes every {1 / size:.1f} mm, one after the other along {' and '.join(along)}"
        )


class Edge(NamedTuple):
    """Where k-space ends along an axis before it has to: a low-pass, or zeros filled in.

    Attributes:
      axis: 0, 1 or 2.
      frequency: in cycles per mm.
    """

    axis: int
    frequency: float

    @property
    def sentence(self) -> str:
        """What it means for the image."""
        return (
            f"k-space ends at {self.frequency:.2f} cycles per mm along {AXES[self.axis]}: nothing "
            f"finer than {0.5 / self.frequency:.1f} mm was measured there, whatever the voxel size"
        )


class Evidence(NamedTuple):
    """What is seen in the k-space of a scan.

    Attributes:
      planes: log10 of power, `(Y, X)`, `(Z, X)` and `(Z, Y)`: the highest along z, y and x;
        frequency 0 in the middle, high ones of the second axis at the top.
      nyquist: of x, y and z, in cycles per mm.
      spikes: the strongest first.
      edges: at most one along each axis.
      noise: standard deviation over the level, from the corners of k-space; None where they are
        empty.
    """

    planes: tuple[np.ndarray, np.ndarray, np.ndarray]
    nyquist: tuple[float, float, float]
    spikes: tuple[Spike, ...]
    edges: tuple[Edge, ...]
    noise: float | None


def look(data: np.ndarray, voxel_size: Sequence[float], level: float) -> Evidence:
    """Looks at the k-space of a scan.

    Args:
      data: `(X, Y, Z)`, not negative, on the scan's own grid.
      voxel_size: `(3,)` mm.
      level: intensity that noise is compared with, that of grey matter say; above 0.
    """
    image = np.asarray(data, np.float32) / np.float32(level)
    samples = fft.rfftn(image - image.mean(), workers=-1)
    power = (np.square(samples.real) + np.square(samples.imag)) / np.float32(image.size)
    del samples
    nyquist = tuple(0.5 / float(size) for size in voxel_size)
    frequencies = [
        make(n, size)
        for make, n, size in zip(
            (fft.fftfreq, fft.fftfreq, fft.rfftfreq), image.shape, voxel_size, strict=True
        )
    ]
    logarithm = np.log10(power + np.float32(_FLOOR))
    planes = tuple(_highest(logarithm, axis, image.shape[2]) for axis in (2, 1, 0))
    edges = tuple(_edges(logarithm, frequencies))
    # Beyond an edge nothing was measured: what is there, the magnitude has made.
    spikes = [
        spike
        for spike in _spikes(power, frequencies)
        if all(abs(spike.frequency[edge.axis]) < edge.frequency for edge in edges)
    ]
    return Evidence(
        (planes[0], planes[1], planes[2]),
        (nyquist[0], nyquist[1], nyquist[2]),
        tuple(spikes[:_MOST_SPIKES]),
        edges,
        _noise(power, frequencies, nyquist),
    )


# -- Planes --------------------------------------------------------------------------------------


def _highest(half: np.ndarray, axis: int, depth: int) -> np.ndarray:
    """The highest along an axis of a half of k-space, as `Evidence.planes` has it."""
    seen = half.max(axis=axis)
    if axis == 2:
        whole = np.maximum(seen, _mirrored(seen))
    else:
        # Negative frequencies along z are those of the other side.
        rest = _mirrored(seen, (0,))[:, depth - seen.shape[1] : 0 : -1]
        whole = np.concatenate([seen, rest], axis=1)
    return fft.fftshift(whole).T[::-1]


def _mirrored(plane: np.ndarray, axes: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """At the negative of each frequency."""
    return np.roll(np.flip(plane, axes), [1] * len(axes), axes)


# -- What stands out -----------------------------------------------------------------------------


def _spikes(power: np.ndarray, frequencies: Sequence[np.ndarray]) -> list[Spike]:
    sizes = (_AROUND**3, _OWN**3)
    outer, inner = (
        number * ndimage.uniform_filter(power, edge, mode="wrap")
        for number, edge in zip(sizes, (_AROUND, _OWN), strict=True)
    )
    around = np.maximum((outer - inner) / (sizes[0] - sizes[1]), np.float32(_FLOOR))
    x, y, z = (np.square(f).astype(np.float32) for f in frequencies)
    near = x[:, None, None] + y[:, None] + z < _LOWEST**2
    excess = np.where(near, np.float32(0), power / around)
    candidates = np.flatnonzero(excess > _STANDS_OUT)
    candidates = candidates[np.argsort(-excess.ravel()[candidates])][: 10 * _MOST_SPIKES]
    found: list[Spike] = []
    for place in candidates:
        where = [int(i) for i in np.unravel_index(place, power.shape)]
        frequency = np.array([f[i] for f, i in zip(frequencies, where, strict=True)])
        # What is beside one that is found already, or at its negative frequency, belongs to it.
        steps = [_AROUND * abs(f[1]) for f in frequencies]
        if any(
            (abs(frequency - sign * np.array(s.frequency)) < steps).all()
            for s in found
            for sign in (-1, 1)
        ):
            continue
        if power[tuple(where)] > _ALONE * _highest_around(power, where):
            found.append(Spike(tuple(frequency.tolist()), float(excess[tuple(where)])))
    return found


def _highest_around(power: np.ndarray, where: Sequence[int]) -> float:
    """In the box around a sample, without its own."""
    reach = np.arange(-(_AROUND // 2), _AROUND // 2 + 1)
    box = power[np.ix_(*((i + reach) % n for i, n in zip(where, power.shape, strict=True)))]
    own = np.flatnonzero(np.abs(reach) <= _OWN // 2)
    box[np.ix_(own, own, own)] = 0  # a copy
    return float(box.max())


def _edges(logarithm: np.ndarray, frequencies: Sequence[np.ndarray]) -> Iterator[Edge]:
    """Of the mean log power of lines, from frequency 0 to the highest, both sides together."""
    for axis, frequency in enumerate(frequencies):
        others = tuple(a for a in range(3) if a != axis)
        lines = logarithm.mean(axis=others, dtype=np.float64) * np.log(10)
        if axis < 2:
            lines = (0.5 * (lines + _mirrored(lines, (0,))))[: len(lines) // 2 + 1]
        first = max(len(lines) // 4, _STEP)
        places = np.arange(first, len(lines) - _STEP)
        if not places.size:
            continue
        falls = np.array(
            [lines[k - _STEP : k].mean() - lines[k : k + _STEP].mean() for k in places]
        )
        best = int(places[np.argmax(falls)])
        stays = lines[best + 1 :].max() < lines[best - _STEP : best - 1].min() - 0.5 * _STEEP
        if falls.max() > _STEEP and stays:
            yield Edge(axis, float(abs(frequency[best])))


def _noise(
    power: np.ndarray, frequencies: Sequence[np.ndarray], nyquist: Sequence[float]
) -> float | None:
    """By the median power of the corners: that of noise is ln 2 of its mean."""
    high = [np.abs(f) >= _CORNER * n for f, n in zip(frequencies, nyquist, strict=True)]
    corner = power[np.ix_(*high)]
    noise = float(np.sqrt(np.median(corner) / np.log(2))) if corner.size else 0.0
    return noise if noise > _EMPTY else None
