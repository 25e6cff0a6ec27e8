"""Copies of the head in a scan: along which axis, how far away, how bright.

What changes periodically from one line of k-space to the next leaves copies of the head n / m of
the field of view away, along the axis on which the lines follow each other; so do lines that are
missing at regular distances.  Where the field of view is smaller than the head, what sticks out on
one side lies over the other, a whole field away.  All of it is plain on the grid of the scan, where
the field of view is known, and best seen in the air, where nothing else is.
"""

import dataclasses
import fractions
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft, ndimage

from qc_jax.scoring import otsu

AXES = ("x (left-right)", "y (front-back)", "z (head-foot)")
WHOLE_FIELD = 1.0
"""Share of the field of view of what folds over."""
_BIN = 2.0
"""mm to which voxels are averaged: copies are as sharp as the head, noise is less."""
_SMOOTHING = 3.0
"""mm, standard deviation of the filter that finds the head."""
_EDGES = 4.0
"""mm, standard deviation of the mean that is taken away, so that edges are left."""
_NEAR = 16.0
"""mm: ringing, flow and smeared edges reach as far from the head, and resemble it."""
_AROUND = 8.0
"""mm beside a copy, where it no longer is in line with the head."""
_FILLED = 0.5
"""Share of a plane that is not zero where it is the border of a field of view, not of a mask."""
_HEAD = 0.5
"""Of Otsu's threshold."""
_MARGIN = 6.0
"""mm around the head that are no air."""
_ENOUGH_AIR = 0.03
"""Share of the scan; less is what interpolation leaves around a mask."""
_FAINTEST = 0.02
"""Strength of a copy in air.  Of clean heads, real ones and with noise, it is up to 0.018."""
_FAINTEST_IN_HEAD = 0.08
"""Of clean heads it is up to 0.045: folds resemble each other."""
_RISE = 0.8
"""Share of the strength of the faintest copy that is gone `_AROUND` it."""
_SMEARED = 2.0
"""Spread of a copy from which on it is none of a few clear ones.  In spoilt versions of 48 heads
that of ghosts is up to 1.9, of motion 0.5 to 3.7, of lines missing here and there 0.3 to 4."""
_FEWEST = 100
"""Voxels of `_BIN` of air that a mean is taken over."""
_BALANCE = 2.5
"""Strength of a copy over that of the most negative one: stripes and ringing, which are like the
head as often as they are unlike it, have 0.6 to 2.1."""
_GOES_ON = 0.65
"""Likeness of the first and the last plane over that of planes side by side; of cut heads, which
are alike on the left and on the right, up to 0.6."""
_ALIKE = 0.2
_OVERLAP, _PLANE = 0.6, 0.8
"""Dice coefficient of what is bright in both planes; largest share of the plane, beyond which it is
noise or a stripe."""
_MOST_AT_BORDER = 0.25
"""Share of the border of a plane that is bright in both: a head is round, stripes are not."""
_SMALLEST = 1000.0
"""mm^2 of what is bright."""
_AS_HEAD = 0.6
"""Intensity of what folds over, as a share of that of the head; of copies half as bright, it may
be the copies that go on over the border."""


@dataclasses.dataclass(frozen=True)
class Copy:
    """Of the head, in a scan.

    Attributes:
      axis: 0, 1 or 2, along which it is moved.
      share: of the field of view by which it is moved, up to 0.5; `WHOLE_FIELD` for fold-over.
      distance: in mm.
      strength: its intensity over that of the head.
      extent: cross-section of what folds over, as a share of the largest one of the head: an ear
        has 0.1, which lies in air and does no harm; 1 for the other copies, of the whole head.
      spread: intensity of the air where a copy lies, over what the copy has there; None where there
        is too little air to tell.
    """

    axis: int
    share: float
    distance: float
    strength: float
    extent: float = 1.0
    spread: float | None = None

    @property
    def irregular(self) -> bool:
        """Whether there is more beside it than a copy: what changes periodically from line to line
        leaves a few clear ones, a head that moves or lines that are missing here and there smear
        the head along the whole axis as well."""
        return self.spread is not None and self.spread > _SMEARED

    @property
    def sentence(self) -> str:
        """What it is, where, and what may have caused it."""
        along, away = AXES[self.axis], f"{self.distance:.0f} mm"
        if self.share == WHOLE_FIELD:
            return (
                f"what sticks out of the field of view along {along} lies over the other side, "
                f"{away} away: wrap-around"
            )
        where = (
            f"copies of the head along {along}, {_in_words(self.share)} of the field of view "
            f"({away}) away, {self.strength:.0%} of its intensity"
        )
        if self.irregular:
            return f"{where}, and more between them: motion or wrap-around"
        return f"{where}: ghosting or wrap-around"


def find_copies(data: np.ndarray, voxel_size: Sequence[float]) -> tuple[Copy, ...]:
    """Finds copies of the head, the strongest first; at most one of each kind along each axis.

    Args:
      data: `(X, Y, Z)`, not negative, any scale, in RAS orientation, on the scan's own grid.
      voxel_size: `(3,)` mm.
    """
    binned, size = _binned(_field(data), voxel_size)
    if min(binned.shape) < 8 or binned.max() <= binned.min():
        return ()
    head, air = _head_and_air(binned, size)
    binned /= np.mean(binned[head])
    moved = [
        dataclasses.replace(copy, spread=_spread(binned, head, air, copy))
        for copy in _moved(binned, size, head, air)
    ]
    # Bright copies go on over the border themselves.
    folded = [c for c in _folded(binned, size, head) if c.axis not in {copy.axis for copy in moved}]
    return tuple(sorted([*moved, *folded], key=lambda copy: -copy.strength))


def _in_words(share: float) -> str:
    """Of the field of view, as a fraction where it is a simple one."""
    simple = fractions.Fraction(share).limit_denominator(6)
    if abs(simple - share) > 0.006:
        return f"{share:.0%}"
    return "half" if simple == fractions.Fraction(1, 2) else str(simple)


def _field(data: np.ndarray) -> np.ndarray:
    """Without planes of zeros around it, where a field of view ends there and not a mask."""
    data = np.asarray(data, np.float32)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(data.any(axis=others))
        if filled.size < 2:
            return data
        first, last = int(filled[0]), int(filled[-1])
        ends = np.moveaxis(data, axis, 0)[[first, last]]
        if np.count_nonzero(ends) > _FILLED * ends.size:
            data = data[(slice(None),) * axis + (slice(first, last + 1),)]
    return data


def _binned(data: np.ndarray, voxel_size: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means over whole numbers of voxels, about `_BIN` mm, and their size in mm, `(3,)`.

    What is left over is left out in the middle, so that the first plane still follows the last.
    """
    number = np.array([max(1, round(_BIN / size)) for size in voxel_size])
    for axis, n in enumerate(number):
        parts, rest = divmod(data.shape[axis], n)
        first = parts // 2 * n
        data = np.moveaxis(data, axis, 0)
        if rest:
            data = np.concatenate([data[:first], data[first + rest :]])
        # A sum of views is quicker than a mean over an axis of two.
        total = functools.reduce(np.add, [data[i::n] for i in range(n)])
        data = np.moveaxis(total / np.float32(n), 0, axis)
    return np.ascontiguousarray(data), number * np.asarray(voxel_size, float)


def _head_and_air(image: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks: what is bright and hangs together, and what is dark, away from it and not masked."""
    smooth = ndimage.gaussian_filter(image, _SMOOTHING / size, truncate=2.0)
    parts, _ = ndimage.label(smooth > _HEAD * otsu.threshold(smooth.ravel()[::3]))
    head = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    near = ndimage.binary_dilation(head, iterations=round(_MARGIN / size.min()))
    return head, ~near & (image > 0)


def _moved(
    image: np.ndarray, size: np.ndarray, head: np.ndarray, air: np.ndarray
) -> Iterator[Copy]:
    """Copies a part of the field of view away: in the air, or else in the head.

    In the air the strength at each distance is that of least squares: edges in the air as a number
    times those of the moved head.  In the head it is the autocorrelation of edges, mean over the
    pairs of voxels in it: that of a copy is the copy's strength.  There is no air where it is
    masked, and where copies are so bright that they count as head.
    """
    core = ndimage.binary_erosion(head, iterations=2).astype(np.float32)
    sharp_core = _edges(image, core, size)
    seen = air.mean() > _ENOUGH_AIR
    if seen:
        weight = air.astype(np.float32)
        sharp_air = _edges(image, weight, size)
        inside = np.where(ndimage.binary_dilation(head, iterations=2), image, np.float32(0))
        sharp_head = inside - _mean_around(inside, size)
    for axis in range(3):
        strengths = _strengths(sharp_core, sharp_core, core, axis, 0.2)
        found = [_best(strengths, axis, size[axis], 2 * _NEAR, _FAINTEST_IN_HEAD)]
        if found[0] is not None and found[0].share > 0.49:
            # Half a field away in one direction is half a field away in the other.
            found = [dataclasses.replace(found[0], strength=0.5 * found[0].strength)]
        if seen:
            strengths = _strengths(sharp_air, sharp_head, weight, axis, 0.05)
            found.append(_best(strengths, axis, size[axis], _NEAR, _FAINTEST))
        yield from sorted(filter(None, found), key=lambda copy: copy.strength)[-1:]


def _strengths(
    sharp: np.ndarray, sharp_head: np.ndarray, weight: np.ndarray, axis: int, least: float
) -> np.ndarray:
    """Of a copy 0, 1, ... voxels away, `(n,)`; `least` is the share of the largest number of pairs
    of voxels, below which there are too few."""
    energy = _correlation(weight, np.square(sharp_head), axis)
    largest = max(float(energy.max()), float(np.finfo(np.float32).tiny))
    return _correlation(sharp, sharp_head, axis) / np.maximum(energy, least * largest)


def _best(
    strengths: np.ndarray, axis: int, size: float, nearest: float, faintest: float
) -> Copy | None:
    """The copy that stands out most from those beside it, if it is one."""
    length = len(strengths)
    lags = np.minimum(np.arange(length), length - np.arange(length))
    far = lags * size >= nearest
    if not far.any():
        return None
    beside = max(round(_AROUND / size), 1)
    around = np.maximum(np.roll(strengths, beside), np.roll(strengths, -beside))
    rise = np.where(far, strengths - around, 0.0)
    best = int(np.argmax(rise))
    strength, lowest = float(strengths[best]), float(strengths[far].min())
    if min(strength, rise[best] / _RISE) < faintest or strength < -_BALANCE * lowest:
        return None
    return Copy(axis, float(lags[best] / length), float(lags[best] * size), strength)


def _spread(image: np.ndarray, head: np.ndarray, air: np.ndarray, copy: Copy) -> float | None:
    """Intensity of the air where the inner part of the head would lie, less that of the air where
    none of it does, over that of the copy."""
    lag = round(copy.share * image.shape[copy.axis])
    core = np.where(ndimage.binary_erosion(head, iterations=3), image, np.float32(0))
    there = np.maximum(np.roll(core, lag, copy.axis), np.roll(core, -lag, copy.axis))
    covered = np.roll(head, lag, copy.axis) | np.roll(head, -lag, copy.axis)
    inside, outside = air & (there > 0), air & ~ndimage.binary_dilation(covered, iterations=3)
    if min(inside.sum(), outside.sum()) < _FEWEST:
        return None
    more = image[inside].mean() - image[outside].mean()
    return float(more / (copy.strength * there[inside].mean()))


def _folded(image: np.ndarray, size: np.ndarray, head: np.ndarray) -> Iterator[Copy]:
    """What goes on over the border of the field of view: the first plane continues the last."""
    bright = 0.25 * np.median(image[image > image.mean()])
    for axis, length in enumerate(image.shape):
        planes = [np.moveaxis(image, axis, 0)[i] for i in (0, -1, 1, -2)]
        in_plane = np.delete(size, axis)
        first, last = (plane > bright for plane in planes[:2])
        both, either = first & last, first | last
        overlap = 2 * both.sum() / max(first.sum() + last.sum(), 1)
        if (
            overlap < _OVERLAP
            or either.mean() > _PLANE
            or either.sum() * in_plane.prod() < _SMALLEST
            or _at_border(both) > _MOST_AT_BORDER
        ):
            continue
        sharp = [_details(np.minimum(plane, 8 * bright), both, in_plane) for plane in planes]
        across = _likeness(sharp[0], sharp[1], both)
        along = min(_likeness(sharp[0], sharp[2], both), _likeness(sharp[1], sharp[3], both))
        strength = float(np.mean([plane[both].mean() for plane in planes[:2]]))
        if across >= max(_ALIKE, _GOES_ON * along) and strength >= _AS_HEAD:
            section = head.sum(axis=tuple(a for a in range(3) if a != axis)).max()
            extent = min(float(either.sum() / section), 1.0)
            yield Copy(axis, WHOLE_FIELD, float(length * size[axis]), strength, extent)


def _at_border(where: np.ndarray) -> float:
    """Share of the border of a plane."""
    ends = where[[0, -1]].ravel(), where[1:-1, [0, -1]].ravel()
    return float(np.concatenate(ends).mean())


def _details(plane: np.ndarray, where: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Of 2.5 to 6 mm within a mask: smaller ones are noise, larger ones the outline of any head.

    The outline of what is bright does not count: where half of a scan is noisy, it is the same in
    the first plane and the last.
    """
    weight = where.astype(np.float32)

    def mean(sigma: float) -> np.ndarray:
        total = ndimage.gaussian_filter(plane * weight, sigma / size)
        return total / np.maximum(ndimage.gaussian_filter(weight, sigma / size), 0.05)

    return weight * (mean(2.5) - mean(6.0))


def _likeness(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Correlation within a mask; 0 where there is nothing."""
    a, b = one[where], other[where]
    spread = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / spread) if spread > 0 else 0.0


def _edges(image: np.ndarray, weight: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Less the local mean, both where the weight is 1; 0 where it is 0."""
    level = _mean_around(image * weight, size) / np.maximum(_mean_around(weight, size), 0.05)
    return weight * (image - level)


def _mean_around(image: np.ndarray, size: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(image, _EDGES / size, truncate=2.0)


def _correlation(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    """Of one with the other moved along the axis by 0, 1, ... voxels, circularly; `(n,)`."""
    others = tuple(a for a in range(3) if a != axis)
    product = fft.rfft(one, axis=axis) * np.conj(fft.rfft(other, axis=axis))
    return fft.irfft(product.sum(axis=others), one.shape[axis])
