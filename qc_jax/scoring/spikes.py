"""Spikes in k-space: samples that stand far above those around them, in the scan or in its slices.

A spike in the k-space of a 3-D acquisition draws stripes over the whole scan; one in that of a
slice, or one that was there for a part of the time, draws them over some slices alone, and is
plain in the k-space of these slices only.  Both are looked for on the scan's own grid.
"""

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft, ndimage

from qc_jax.power import hann
from qc_jax.scoring.copies import AXES

_FLOOR = 1e-12
"""Power that counts as none."""
_LOWEST = 0.03
"""Cycles per mm below which the head itself is as uneven as a spike."""
_OWN, _AROUND = 5, 11
"""Samples along the edge of the boxes that a spike may fill and that it has to stand out from: a
magnitude image has its stripes in the head alone, so that the sample is as wide as the head is
narrow."""
_STANDS_OUT, _ALONE = 40.0, 6.0
"""Power of a spike over the mean and over the highest of the samples around it.  The highest of ten
million samples of noise is 16 times their mean."""
_FAINTEST = 0.04
"""Amplitude of stripes, over the intensity of the head, up to which they are none.  Ghosts, motion
and what magnitude makes of empty frequencies have up to 0.03."""
_PLAIN = 150.0
"""Power over the mean around it that one slice has to have, before any is believed to have a spike.
Slices of 22 clean heads have up to 50, of heads with lines missing up to 100."""
MOST = 3
"""Spikes that are worth saying."""
_NEARLY_ALL = 0.7
"""Share of the slices with a head from which on the whole scan has the spike."""
HEAD = 0.25
"""Intensity that is of the head, not of air, over that of the head."""
_BRIGHT = 0.5
"""Intensity that stripes and noise in air seldom have."""
_CHUNK = 32
"""Slices at a time, which the caches of a processor hold better than a scan."""


@dataclasses.dataclass(frozen=True)
class Spike:
    """A sample of k-space that stands far above those around it.

    Attributes:
      frequency: along x, y and z, in cycles per mm.
      excess: its power over the mean of those around it.
      amplitude: of its stripes, over the intensity of the head.
      axis: 0, 1 or 2, across which the slices lie that have it.
      slices: their numbers, rising; none where the whole scan has it.
    """

    frequency: tuple[float, float, float]
    excess: float
    amplitude: float
    axis: int = 0
    slices: tuple[int, ...] = ()

    @property
    def sentence(self) -> str:
        """The stripes that it draws, and where."""
        size = float(np.linalg.norm(self.frequency))
        shares = np.abs(self.frequency) / size
        along = [AXES[a] for a in np.argsort(-shares) if shares[a] > 0.3]
        times = f"{self.excess:.0f}" if self.excess < 1000 else "more than 1000"
        text = (
            f"a spike at {size:.2f} cycles per mm, {times} times what is around it: "
            f"stripes every {1 / size:.1f} mm, one after the other along {' and '.join(along)}"
        )
        if not self.slices:
            return text
        first, last = self.slices[0], self.slices[-1]
        which = (
            f"slice {first}" if first == last else f"{len(self.slices)} slices ({first} to {last})"
        )
        return f"{text}, in {which} along {AXES[self.axis]}"


def find_spikes(power: np.ndarray, frequencies: Sequence[np.ndarray], scale: float) -> list[Spike]:
    """Spikes of the whole scan, the one that stands out most first.

    Args:
      power: `(X, Y, Z // 2 + 1)` of the samples of `scipy.fft.rfftn`.
      frequencies: along each axis of `power`, in cycles per mm.
      scale: amplitude of the stripes of a sample of power 1, over the intensity of the head.
    """
    around = _mean_around(power, 3)
    x, y, z = (np.square(f).astype(np.float32) for f in frequencies)
    near = x[:, None, None] + y[:, None] + z < _LOWEST**2
    low = [_beside_zero(f) for f in frequencies]
    near |= low[0][:, None, None] & low[1][:, None] & low[2]
    excess = np.where(near, np.float32(0), power / around)
    candidates = np.flatnonzero(excess > _STANDS_OUT)
    candidates = candidates[np.argsort(-excess.ravel()[candidates])][: 10 * MOST]
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
        own = float(power[tuple(where)])
        amplitude = float(scale * np.sqrt(own))
        if amplitude > _FAINTEST and own > _ALONE * _highest_around(power, where):
            found.append(Spike(tuple(frequency.tolist()), float(excess[tuple(where)]), amplitude))
    return found


def find_in_slices(
    image: np.ndarray,
    voxel_size: Sequence[float],
    powers: Sequence[np.ndarray],
    unit: float,
) -> Spike | None:
    """The spike of the slices across the axis along which they stand out most.

    Args:
      image: `(X, Y, Z)` float32, in units of the intensity of the head.
      voxel_size: `(3,)` mm.
      powers: see `power.Power.slices`.
      unit: that of power, in the square of the image's.

    Returns:
      The plainest of all slices, with `slices`; without them, where nearly all slices of the head
      have one, and None where no slice has.
    """
    best: Spike | None = None
    for axis in range(3):
        stack = np.moveaxis(image, axis, 0)
        sizes = np.delete(np.asarray(voxel_size, float), axis)
        look = functools.partial(_look_at, sizes=sizes, unit=unit)
        chunks, of_chunks = (
            [whole[first : first + _CHUNK] for first in range(0, len(stack), _CHUNK)]
            for whole in (stack, powers[axis])
        )
        with ThreadPoolExecutor() as threads:  # numpy and scipy let others work meanwhile
            excess, alone, amplitude, frequency = map(
                np.concatenate, zip(*threads.map(look, chunks, of_chunks), strict=True)
            )
        of_slices = np.count_nonzero(stack > _BRIGHT, axis=(1, 2))
        with_head = of_slices > 0.25 * of_slices.max()
        spiked = with_head & (excess > _STANDS_OUT) & (alone > _ALONE) & (amplitude > _FAINTEST)
        excess = np.where(spiked, excess, 0.0)
        plainest = int(np.argmax(excess))
        if excess[plainest] < max(_PLAIN, best.excess if best else 0.0):
            continue
        most = spiked.sum() > _NEARLY_ALL * with_head.sum()
        best = Spike(
            tuple(np.insert(frequency[plainest], axis, 0.0).tolist()),
            float(excess[plainest]),
            float(np.median(amplitude[spiked])),
            axis,
            () if most else tuple(np.flatnonzero(spiked).tolist()),
        )
    return best


def _look_at(
    stack: np.ndarray, power: np.ndarray, sizes: np.ndarray, unit: float
) -> tuple[np.ndarray, ...]:
    """Of the sample that stands out most in each slice, `(n,)`: its power over the mean and over
    the highest of those around it, and the amplitude of its stripes; its frequency, `(n, 2)`."""
    number, *shape = stack.shape
    window = hann(shape)
    power = power * np.float32(unit * np.square(window).sum())
    first, second = fft.fftfreq(shape[0], sizes[0]), fft.rfftfreq(shape[1], sizes[1])
    near = np.hypot(first[:, None], second) < _LOWEST
    near |= _beside_zero(first)[:, None] & _beside_zero(second)
    excess = np.where(near, np.float32(0), power / _mean_around(power, 2)).reshape(number, -1)
    place = excess.argmax(axis=1)
    rows, columns = np.unravel_index(place, power.shape[1:])
    own = power[np.arange(number), rows, columns]
    highest = np.array(
        [_highest_around(p, where) for p, *where in zip(power, rows, columns, strict=True)]
    )
    # Stripes are where the head is: in air the magnitude folds them to twice their frequency.
    inside = ((stack > HEAD) * window).sum(axis=(1, 2))
    return (
        excess[np.arange(number), place],
        own / np.maximum(highest, np.float32(_FLOOR)),
        2 * np.sqrt(own) / np.maximum(inside, 0.02 * window.sum()),
        np.stack([first[rows], second[columns]], axis=-1),
    )


def _beside_zero(frequency: np.ndarray) -> np.ndarray:
    """The samples to which a taper or a thin slab spreads the mean of the image."""
    return np.abs(frequency) < 3.5 * abs(frequency[1])


def _mean_around(power: np.ndarray, axes: int) -> np.ndarray:
    """Of the samples around each, along the last axes, without its own box."""
    last = tuple(range(power.ndim - axes, power.ndim))
    sizes = _AROUND**axes, _OWN**axes
    outer, inner = (
        size * ndimage.uniform_filter(power, edge, mode="wrap", axes=last)
        for size, edge in zip(sizes, (_AROUND, _OWN), strict=True)
    )
    return np.maximum((outer - inner) / (sizes[0] - sizes[1]), np.float32(_FLOOR))


def _highest_around(power: np.ndarray, where: Sequence[int]) -> float:
    """In the box around a sample, without its own."""
    reach = np.arange(-(_AROUND // 2), _AROUND // 2 + 1)
    box = power[np.ix_(*((i + reach) % n for i, n in zip(where, power.shape, strict=True)))]
    own = np.flatnonzero(np.abs(reach) <= _OWN // 2)
    box[np.ix_(*[own] * power.ndim)] = 0  # a copy
    return float(box.max())
