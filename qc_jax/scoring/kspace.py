"""The k-space of a scan on its own grid, and what stands out in it: evidence for the eye.

What an artefact is in k-space it is on the grid of the scan alone: a spike is one sample, a
low-pass an edge, noise a floor.  Frequencies are in cycles per mm;
power is over the number of voxels and in units of the head's intensity squared, so that white noise
of a standard deviation of one hundredth of it has the power 1e-4 on any matrix.  That intensity is
the mean of what is brighter than the mean.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft

from qc_jax.power import Power, power_of
from qc_jax.scoring import spikes
from qc_jax.scoring.copies import AXES

_FLOOR = 1e-12
"""Power that counts as none."""
_STEP, _STEEP = 3, 0.6
"""Lines on each side of an edge; natural logarithm of the power that is lost there, on average over
a line of k-space."""
_CORNER = 0.8
"""Share of the Nyquist frequencies of all axes from which on only noise is left."""
_EMPTY = 1e-4
"""Noise over the intensity of the head that is less than any scanner has: k-space ends before."""


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
      noise: standard deviation over the intensity of the head, from the corners of k-space; None
        where they are empty.
    """

    planes: tuple[np.ndarray, np.ndarray, np.ndarray]
    nyquist: tuple[float, float, float]
    spikes: tuple[spikes.Spike, ...]
    edges: tuple[Edge, ...]
    noise: float | None


def look(data: np.ndarray, voxel_size: Sequence[float], of_scan: Power | None = None) -> Evidence:
    """Looks at the k-space of a scan.

    Args:
      data: `(X, Y, Z)`, not negative, on the scan's own grid.
      voxel_size: `(3,)` mm.
      of_scan: its power, where that is known already.
    """
    image = np.asarray(data, np.float32)
    of_scan = power_of(image) if of_scan is None else of_scan
    bright = max(np.mean(image[image > image.mean()], dtype=np.float64), _FLOOR)
    image = image / bright
    unit = (of_scan.unit / bright) ** 2
    power = of_scan.whole * np.float32(unit)
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
    scale = 2 * np.sqrt(image.size) / max(np.count_nonzero(image > spikes.HEAD), 1)
    found = [*spikes.find_spikes(power, frequencies, scale)]
    in_slices = spikes.find_in_slices(image, voxel_size, of_scan.slices, unit)
    if in_slices is not None and (in_slices.slices or not found):
        found.insert(0, in_slices)
    return Evidence(
        (planes[0], planes[1], planes[2]),
        (nyquist[0], nyquist[1], nyquist[2]),
        tuple(found[: spikes.MOST]),
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
