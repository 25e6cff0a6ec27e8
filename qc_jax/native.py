"""What the k-space of a scan says on the scan's own grid, before anything is resampled.

Artefacts arise there: a spike is one sample, a missing line a line, the edge of a low-pass an edge,
and a ghost lies a whole fraction of the field of view from its head.  On the grid of a network they
are what interpolation has left of them.  All numbers are free of the voxel size, or in units of mm;
numpy and scipy, so that no shape has to be compiled.
"""

import functools
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from qc_jax.power import Power, power_of, squared_k_space
from qc_jax.spectrum import BANDS, BINS, ECHO_FREQUENCIES, FLOOR, SHELLS

_BLOCK = 4.0
"""mm, of the overview that head and air are told apart on."""
_PER_MM = np.linspace(0.0, 0.5, 11)
"""Borders of frequencies in cycles per mm."""
_COPIES = (1 / 2, 1 / 3, 1 / 4)
"""Distances of copies, as shares of the field of view."""
_SLICE_SHELLS = (0.25, 0.5, 0.75, 1.0, 1.5)
SCAN_SIZE = 3 * (len(SHELLS) - 1) + 4
"""Numbers for each scan."""
AXIS_SIZE = 1 + BINS + (len(_PER_MM) - 1) + 2 * BANDS + len(_COPIES) + 4
"""Numbers for each axis of a scan."""
SLICE_SIZE = 2 * (len(_SLICE_SHELLS) - 1 + 8)
"""Numbers for each slice across an axis."""


class Native(NamedTuple):
    """Of one scan.

    Attributes:
      scan: `(SCAN_SIZE,)` float32, of all of k-space and of the air.
      axes: `(3, AXIS_SIZE)` float32, along x, y and z.
      slices: across x, y and z, `(n, SLICE_SIZE)` float32 each, in the order of the voxels.
    """

    scan: np.ndarray
    axes: np.ndarray
    slices: tuple[np.ndarray, np.ndarray, np.ndarray]


def describe(image: np.ndarray, voxel_size: Sequence[float], power: Power | None = None) -> Native:
    """Describes a scan on its own grid.

    Power is that of each frequency over the number of voxels, in units of the head's intensity
    squared, so that white noise of variance v has the power v whatever the matrix.

    Args:
      image: `(X, Y, Z)`, not negative, in any unit.
      voxel_size: `(3,)` mm.
      power: of this scan, where it is known already.
    """
    image = np.asarray(image, np.float32)
    power = power_of(image) if power is None else power
    overview = _overview(image, voxel_size)
    image = image / np.float32(overview.level)
    scale = np.float32((power.unit / overview.level) ** 2)
    with ThreadPoolExecutor() as threads:  # numpy and scipy let others work meanwhile
        spectrum = threads.submit(_spectrum, image, voxel_size, scale * power.whole)
        of_axes = threads.map(functools.partial(_of_axis, image, overview), range(3))
        slices = threads.map(
            functools.partial(_slices, image, overview, power.slices, scale), range(3)
        )
        noise = threads.submit(_noise, image)
    scan, spectra = spectrum.result()
    outside = overview.outside
    of_air = [
        _log10(overview.mean(overview.corner)),
        _log10(noise.result()),
        float((overview.image[outside] <= FLOOR).mean()) if outside.any() else 1.0,
        float((image > 0.999 * image.max()).sum() / max((image > 0.5).sum(), 1)),
    ]
    axes = [np.concatenate(both) for both in zip(spectra, of_axes, strict=True)]
    across = list(slices)
    return Native(
        np.concatenate([scan, of_air]).astype(np.float32),
        np.stack(axes).astype(np.float32),
        (across[0], across[1], across[2]),
    )


class OnGrid(NamedTuple):
    """What a network on another grid is given of it.

    Attributes:
      scan, axes: see `Native`.
      slices: `(3, C, SLICE_SIZE)` float32, at the cells of the grid along each axis; C is the
        number along the longest one.
    """

    scan: np.ndarray
    axes: np.ndarray
    slices: np.ndarray


def on_grid(
    found: Native, affine: np.ndarray, grid_affine: np.ndarray, shape: Sequence[int], edge: int
) -> OnGrid:
    """The numbers of slices at the cells of another grid: means over a cell.

    Args:
      found: of a scan whose axes lie within 45 degrees of those of the world.
      affine: `(4, 4)`, voxels of the scan to mm.
      grid_affine: `(4, 4)`, voxels of the grid to mm, along the axes of the world.
      shape: `(3,)` voxels of the grid.
      edge: voxels of the grid along the edge of a cell.

    Returns:
      Beyond the scan what its outermost slices have.
    """
    middle = (np.array([len(slices) for slices in found.slices]) - 1) / 2
    number = [-(-size // edge) for size in shape]
    rows = np.zeros((3, max(number), SLICE_SIZE), np.float32)
    within = (np.arange(8) + 0.5) / 8
    for axis, slices in enumerate(found.slices):
        place = np.where(np.arange(3) == axis, 0.0, middle)
        first = affine[axis, :3] @ place + affine[axis, 3]
        voxels = edge * (np.arange(number[axis])[:, None] + within) - 0.5
        where = grid_affine[axis, axis] * voxels + grid_affine[axis, 3]
        nearest = np.rint((where - first) / affine[axis, axis]).astype(int)
        rows[axis, : number[axis]] = slices[np.clip(nearest, 0, len(slices) - 1)].mean(axis=1)
    return OnGrid(found.scan, found.axes, rows)


# -- Head and air ----------------------------------------------------------------------------------


class _Overview(NamedTuple):
    """The scan in blocks of about 4 mm.

    Attributes:
      image: `(x, y, z)`, means.
      head: `(x, y, z)` bool, filled.
      outside: `(x, y, z)` bool, air at some distance from the head.
      along: for each axis, the air that is in line with the head along it alone.
      corner: `(x, y, z)` bool, the air that is in line with the head along none.
      sizes: voxels of a block along each axis.
      level: of the head, the median.
    """

    image: np.ndarray
    head: np.ndarray
    outside: np.ndarray
    along: tuple[np.ndarray, ...]
    corner: np.ndarray
    sizes: tuple[int, ...]
    level: float

    def mean(self, where: np.ndarray) -> float:
        """Intensity over that of the head; 0 where there is no such place."""
        return float(self.image[where].mean()) / self.level if where.any() else 0.0


def _overview(image: np.ndarray, voxel_size: Sequence[float]) -> _Overview:
    sizes = tuple(max(round(_BLOCK / size), 1) for size in voxel_size)
    blocks = image
    for axis, size in enumerate(sizes):
        firsts = np.arange(0, image.shape[axis], size)
        number = np.diff([*firsts, image.shape[axis]])
        others = [a for a in range(3) if a != axis]
        blocks = np.add.reduceat(blocks, firsts, axis) / np.expand_dims(number, others)
    above = blocks > 0.25 * np.percentile(blocks, 98)
    parts, number = ndimage.label(above)
    if number > 1:
        above = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    head = ndimage.binary_fill_holes(ndimage.binary_closing(above, iterations=2) | above)
    near = ndimage.binary_dilation(head, iterations=2)
    in_line = [np.broadcast_to(near.any(axis=a, keepdims=True), near.shape) for a in range(3)]
    along = []
    for axis in range(3):
        others = np.logical_or(*(in_line[a] for a in range(3) if a != axis))
        along.append(in_line[axis] & ~others)
    corner = ~np.logical_or.reduce(in_line)
    level = float(np.median(blocks[head])) if head.any() else float(blocks.max())
    level = max(level, float(np.finfo(np.float32).tiny))
    return _Overview(blocks, head, ~near, tuple(along), corner, sizes, level)


def _noise(image: np.ndarray) -> float:
    """Standard deviation of what is not smooth where the scan is brighter than half of the head.

    By the median of second differences along the axis where they are least.
    """
    found = []
    for axis in range(3):
        stack = np.moveaxis(image, axis, 0)
        second = stack[2:] - 2 * stack[1:-1] + stack[:-2]
        inside = np.abs(second[stack[1:-1] > 0.5])
        found.append(float(np.median(inside)) if inside.size else 0.0)
    return min(found) / (0.6745 * np.sqrt(6.0))


# -- All of k-space --------------------------------------------------------------------------------


def _spectrum(
    image: np.ndarray, voxel_size: Sequence[float], plain: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Level, peak and flatness of each shell, and profiles, ripples and echoes along the axes."""
    shape = image.shape
    frequencies = [2 * np.abs(fft.fftfreq(n)) for n in shape[:2]] + [2 * fft.rfftfreq(shape[2])]
    counts = np.where((frequencies[2] == 0) | (frequencies[2] == 1), 1.0, 2.0).astype(np.float32)
    tapers = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in shape]
    tapered = image - image.mean()
    for axis, taper in enumerate(tapers):
        tapered = tapered * np.expand_dims(taper, [a for a in range(3) if a != axis])
    scale = np.prod([np.square(t).sum() for t in tapers])
    power = squared_k_space(tapered) / np.float32(scale)

    x, y, z = frequencies
    radius = np.sqrt((x**2)[:, None, None] + (y**2)[:, None] + z**2).astype(np.float32)
    shell = np.searchsorted(np.array(SHELLS, np.float32) + 1e-6, radius.ravel()).astype(np.int8)
    weight = np.broadcast_to(counts, power.shape).ravel()
    flat, log_flat = power.ravel(), np.log(power.ravel() + FLOOR)
    number = np.maximum(np.bincount(shell, weight, len(SHELLS) + 1), 1.0)
    mean = np.bincount(shell, flat * weight, len(SHELLS) + 1) / number
    geometric = np.bincount(shell, log_flat * weight, len(SHELLS) + 1) / number
    scan = []
    for s in range(1, len(SHELLS)):
        inside = flat[shell == s]
        level = np.log(mean[s] + FLOOR)
        peak = np.log(inside.max(initial=0.0) + FLOOR)
        scan += [(level + 5.0) / 3.0, peak - level - 3.0, level - geometric[s] - 1.0]

    log_plain = np.log(plain + FLOOR) * counts
    low, high = ECHO_FREQUENCIES
    middle = plain * (counts * ((radius > low) & (radius <= high)))
    along = []
    for axis, (size, frequency) in enumerate(zip(shape, frequencies, strict=True)):
        others = tuple(a for a in range(3) if a != axis)
        samples = np.broadcast_to(counts, plain.shape).sum(axis=others)
        lines = _one_sided(log_plain.sum(axis=others) / samples, size)
        planes = _one_sided((power * counts).sum(axis=others) / samples, size)
        echo = _one_sided(middle.sum(axis=others) / samples, size)
        one_sided = frequency[: len(lines)]
        along.append(
            np.concatenate(
                [
                    _profile(planes, one_sided),
                    _in_mm(lines, one_sided / (2 * voxel_size[axis])),
                    _ripple(lines),
                    _echoes(echo, size),
                ]
            )
        )
    return np.array(scan), along


def _one_sided(lines: np.ndarray, size: int) -> np.ndarray:
    """In the order of `fftfreq`, or its half already, to the means of both sides."""
    half = size // 2 + 1
    if len(lines) == half:
        return lines
    return (0.5 * (lines + np.roll(lines[::-1], 1)))[:half]


def _profile(planes: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Log power in the plane of frequency 0 and in 8 bins up to the Nyquist frequency."""
    bins = np.ceil(frequency * BINS - 1e-6).astype(int)
    number = np.maximum(np.bincount(bins, minlength=1 + BINS), 1)
    return (np.log(np.bincount(bins, planes, 1 + BINS) / number + FLOOR) + 5.0) / 3.0


def _in_mm(lines: np.ndarray, per_mm: np.ndarray) -> np.ndarray:
    """Mean log power of lines by their frequency in cycles per mm; none where no line is."""
    bins = np.searchsorted(_PER_MM, per_mm, side="right") - 1
    inside = (bins >= 0) & (bins < len(_PER_MM) - 1)
    number = np.bincount(bins[inside], minlength=len(_PER_MM) - 1)
    total = np.bincount(bins[inside], lines[inside], len(_PER_MM) - 1)
    return (np.where(number > 0, total / np.maximum(number, 1), np.log(FLOOR)) + 10.0) / 3.0


def _ripple(lines: np.ndarray) -> np.ndarray:
    """How much a line differs from its neighbours, in bands; missing lines make it."""
    uneven = np.square(_unevenness(lines[1:]))
    bands = np.array_split(uneven, BANDS)
    return np.log([np.sqrt(band.mean()) + 1e-3 if band.size else 1e-3 for band in bands]) + 2.5


def _echoes(echo: np.ndarray, size: int) -> np.ndarray:
    """Jumps in the autocorrelation of edges and folds, in bands of distance and at copies."""
    line = fft.irfft(echo, size)
    line = line / max(line[0], FLOOR)
    half = line[: size // 2 + 2]
    uneven = np.abs(_unevenness(half))
    bands = np.array_split(uneven[size // 12 :], BANDS)
    jumps = [band.max() if band.size else 0.0 for band in bands]
    for share in _COPIES:
        place = round(share * size) - 1
        jumps.append(uneven[max(place - 1, 0) : place + 2].max(initial=0.0))
    return np.log(np.array(jumps) + 1e-4) + 5.0


def _unevenness(line: np.ndarray) -> np.ndarray:
    """Difference of each inner number from the mean of its neighbours."""
    return line[1:-1] - 0.5 * (line[:-2] + line[2:])


def _of_axis(image: np.ndarray, overview: _Overview, axis: int) -> np.ndarray:
    """Air in line with the head, what touches the two borders, and how steep the head is."""
    borders = sorted(float(np.percentile(np.take(image, place, axis), 75)) for place in (0, -1))
    stack = np.moveaxis(image, axis, 0)
    steps = np.abs(stack[1:] - stack[:-1])[stack[1:] > 0.5]
    steep = float(steps.mean()) if steps.size else 0.0
    beside = overview.mean(overview.along[axis])
    return np.array([_log10(beside), *map(_log10, borders), _log10(steep)])


# -- Slice by slice --------------------------------------------------------------------------------


def _slices(
    image: np.ndarray,
    overview: _Overview,
    powers: Sequence[np.ndarray],
    scale: np.float32,
    axis: int,
) -> np.ndarray:
    """Of each slice across an axis: its own k-space, air and head, and the same less the median."""
    stack = np.moveaxis(image, axis, 0)
    number, *shape = stack.shape
    power = scale * powers[axis].reshape(number, -1)
    first, second = 2 * np.abs(fft.fftfreq(shape[0])), 2 * fft.rfftfreq(shape[1])
    radius = np.sqrt((first**2)[:, None] + second**2)
    counts = np.where((second == 0) | (second == 1), 1.0, 2.0)
    outer = radius > 0.2
    parts = [
        *((radius > low) & (radius <= high) for low, high in itertools.pairwise(_SLICE_SHELLS)),
        (first > 0.4)[:, None] & (second <= 0.3),
        (first <= 0.3)[:, None] & (second > 0.4),
        outer,
    ]
    weights = np.stack([(part * counts).ravel() for part in parts], axis=-1).astype(np.float32)
    levels = _log(power @ (weights / np.maximum(weights.sum(axis=0), 1.0)))
    peak = _log((power * outer.ravel()).max(axis=1)) - levels[:, -1]
    # Along which of its axes a slice is fine: the finer one first.
    fine = np.sort(levels[:, -3:-1], axis=1)[:, ::-1]

    beside = [_across(overview, overview.along[a], axis) for a in range(3) if a != axis]
    rough = [np.maximum(*beside), np.minimum(*beside)]
    rough += [_across(overview, overview.corner, axis), _across(overview, overview.head, axis)]
    with_head = np.asarray(np.moveaxis(overview.head, axis, 0).any(axis=(1, 2)))
    block = np.minimum(np.arange(number) // overview.sizes[axis], len(with_head) - 1)
    change = np.zeros(number)
    if number > 2:
        middle = stack[1:-1] - 0.5 * (stack[:-2] + stack[2:])
        change[1:-1] = np.sqrt(np.square(middle).mean(axis=(1, 2)))
        change[[0, -1]] = change[[1, -2]]
    rows = np.column_stack(
        [levels[:, :-3], peak, fine, np.stack(rough, axis=-1)[block], np.log10(change + 1e-4)]
    )
    inside = with_head[block]
    usual = np.median(rows[inside] if inside.any() else rows, axis=0)
    return np.concatenate([rows, rows - usual], axis=-1).astype(np.float32)


def _across(overview: _Overview, where: np.ndarray, axis: int) -> np.ndarray:
    """Log10 of the mean intensity within a mask over that of the head, layer by layer of blocks."""
    inside = np.moveaxis(where, axis, 0)
    number = np.maximum(inside.sum(axis=(1, 2)), 1)
    total = (np.moveaxis(overview.image, axis, 0) * inside).sum(axis=(1, 2))
    return np.log10(total / (number * overview.level) + 1e-4)


def _log(power: np.ndarray) -> np.ndarray:
    return (np.log(power + FLOOR) + 5.0) / 3.0


def _log10(intensity: float) -> float:
    return float(np.log10(intensity + 1e-4))
