"""The numbers of a scan: what is no magnitude image of a head is refused, and what would rule all
other numbers, single voxels and margins, is put right and said.

Arrays are `(X, Y, Z)`, of any scale.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from qc_jax.data import geometry
from qc_jax.errors import ScanError

_BEYOND = 7.0
"""Ranges of the values beyond them from which on one is none of a head; vessels reach 4."""
_DARK = 0.15
"""Share of the range of values up to which a voxel may be air."""
_FEW_NOT_FINITE = 1e-3
_GAPS_WITHIN = 0.3
"""Share of the lines through a head that have a gap within, where it has holes."""
_CUT = np.array([0.5, 0.5, 0.5, 0.5, 0.8, 0.5])
"""Share of the lines that have a gap in front of the head where it is cut there: from left, right,
back, front, below, where a cut neck has up to 0.75, and above."""
_SOME = 0.05
"""Share from which on a side has gaps in front of the head at all."""
_IN_FRONT = 0.04
"""Of an axis: how near to the head a gap is in front of it."""
_MARGIN = 0.03
"""Share of the faces from which on a value is a margin's, or the background's."""
_SOLID = 0.2
"""Share of a margin's voxels that lie within it."""
_BACKGROUND = 0.05
"""Share of the range of values within which a background may be of the darkest."""
_AIR = 0.15
"""Share of voxels as dark as the darkest from which on there is air."""
_ENOUGH = 1e6
"""Voxels that tell the range of the values."""


class Range(NamedTuple):
    """The values of nearly all voxels."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """From the low to the high."""
        return self.high - self.low


def finite(path: Path | str, data: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Data as float32; a background of NaN, and few other voxels that are not finite, as 0.

    Returns:
      The data, and what was doubtful.

    Raises:
      ScanError: not finite within the head.
    """
    data, warnings = _without_gaps(path, data)
    return _bearable(data), warnings


def of_a_scan(path: Path | str, data: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Data of a scan as float32: what is not finite as in `finite`, a margin as background, and
    voxels far brighter or darker than all others as these.

    A label map would not survive it.

    Returns:
      The data, and what was doubtful.

    Raises:
      ScanError: not finite within the head, or no magnitude image.
    """
    data, gaps = _without_gaps(path, data)
    data, margins = _without_margin(data)
    data, outliers = _without_outliers(data)
    data = _bearable(data)
    _check_magnitude(path, data)
    return data, (*gaps, *margins, *outliers, *_below_zero(data))


def check_scan(path: Path | str, data: np.ndarray, affine: np.ndarray) -> None:
    """Raises ScanError for a volume that can be no scan of a head: constant, a mask, a label map,
    or of a size that no head has; `affine` in mm."""
    geometry.check_extent(path, data.shape, affine)
    spread = float(data.max()) - float(data.min())
    if spread <= 1e-6 * max(abs(float(data.max())), abs(float(data.min()))):
        raise ScanError(f"{path} is constant, the same value in every voxel; export it again")
    values = np.unique(data.ravel()[:: max(data.size // 100_000, 1)])
    if len(values) < 64 and np.array_equal(values, np.rint(values)):
        raise ScanError(
            f"{path} holds {len(values)} different whole numbers; is it a mask or a label map "
            "instead of a scan?"
        )


def _sample(data: np.ndarray) -> np.ndarray:
    """About `_ENOUGH` voxels, evenly spaced, one axis."""
    step = max(math.ceil((data.size / _ENOUGH) ** (1 / 3)), 1)
    return data[::step, ::step, ::step].ravel()


def _range_of(values: np.ndarray) -> Range:
    low, high = np.percentile(values, [0.5, 99.5]) if values.size else (0.0, 0.0)
    return Range(float(low), float(high))


def _faces(data: np.ndarray) -> np.ndarray:
    return np.concatenate([np.moveaxis(data, axis, 0)[[0, -1]].ravel() for axis in range(3)])


def _bearable(data: np.ndarray) -> np.ndarray:
    """As float32, of a scale that it, or a threshold somewhere, can bear."""
    largest = max(float(data.max()), -float(data.min()))
    if largest > 1e30 or 0 < largest < 1e-3:
        data = data / largest
    return data.astype(np.float32)


# -- Not finite ----------------------------------------------------------------------------------


def _without_gaps(path: Path | str, data: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    gaps = ~np.isfinite(data)
    if not gaps.any():
        return data, ()
    share = gaps.mean()
    if share == 1 or (share > _FEW_NOT_FINITE and _cuts_a_head(data, gaps)):
        raise ScanError(
            f"{path} has {gaps.sum()} voxels that are not finite ({share:.1%}), not only in the "
            "background; repair it first"
        )
    said = f"{gaps.sum()} of the voxels ({share:.2g} of all) are not finite; they count as 0"
    return np.where(gaps, 0, data), (said,)


def _cuts_a_head(data: np.ndarray, gaps: np.ndarray) -> bool:
    """Whether gaps lie within a head, or cut it off, instead of lying around it.

    Seen along every axis from both of its ends, a head has gaps in front of it from all sides where
    they are the background; from one where half of it is missing; from none, or in front of a part
    alone, where corners that a turned field of view has left, or the neck, are missing.

    Args:
      data: axes within 45 degrees of RAS.
      gaps: where it is not finite.
    """
    sample = _sample(data)
    known = _range_of(sample[np.isfinite(sample) & (sample != 0)])
    bright = ~gaps & (data > known.low + _DARK * known.width)
    in_front = []
    for axis in range(3):
        head, gap = np.moveaxis(bright, axis, 0), np.moveaxis(gaps, axis, 0)
        lines = head.any(axis=0)
        head, gap, size = head[:, lines], gap[:, lines], len(head)
        if not lines.any():
            return True
        number = np.concatenate([np.zeros((1, gap.shape[1]), np.int16), gap.cumsum(0, np.int16)])
        column = np.arange(gap.shape[1])
        first, last = head.argmax(axis=0), size - 1 - head[::-1].argmax(axis=0)
        if (number[last, column] > number[first, column]).mean() > _GAPS_WITHIN:
            return True
        near = max(round(_IN_FRONT * size), 2)
        before = number[first, column] > number[np.maximum(first - near, 0), column]
        behind = number[np.minimum(last + 1 + near, size), column] > number[last, column]
        in_front += [before[first > 0], behind[last < size - 1]]
    shares = np.array([seen.mean() if seen.size else 0.0 for seen in in_front])
    from_few_sides = (shares > _SOME).sum() <= 3
    return bool(from_few_sides and (shares > _CUT).any())


# -- What would rule the others ------------------------------------------------------------------


def _without_margin(data: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Margins of one value that is not that of the background, as padding leaves them."""
    values, counts = np.unique(_faces(data), return_counts=True)
    warnings = []
    for value in values[counts > _MARGIN * counts.sum()]:
        background = _background_beside(data, value)
        if background is None:
            continue
        parts, _ = ndimage.label(data == value)
        outside = np.isin(parts, np.setdiff1d(_faces(parts), 0))
        # Coarse numbers are frequent in noise as well, but have others beside them.
        if ndimage.binary_erosion(outside, border_value=1).sum() < _SOLID * outside.sum():
            continue
        data = np.where(outside, background, data)
        warnings.append(
            f"a margin of {value:g} ({outside.mean():.0%} of the voxels) counts as background"
        )
    return data, tuple(warnings)


def _background_beside(data: np.ndarray, value: float) -> float | None:
    """What a frequent value has to be where it is no background; None where it may be one.

    Where there is air as well, it is that of air; else 0, or the darkest of a head that was
    standardised within itself.
    """
    sample = _sample(data)
    others = sample[sample != value]
    low, high = known = _range_of(others)
    slack = _BACKGROUND * known.width
    air = others.size and (others <= low + slack).mean() > _AIR
    signed = low < -slack
    background = low if signed else 0.0
    highest = low + slack if air or signed else _BACKGROUND * high
    lowest = low - (slack if air else known.width)
    return None if value == background or lowest <= value <= highest else background


def _without_outliers(data: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxels that no head has, hot ones say, as the brightest or darkest of the others."""
    sample = _sample(data)
    known = _range_of(sample[sample != 0])
    if not known.width > 0:
        return data, ()
    beyond = _BEYOND * known.width
    above, below = data > known.high + beyond, data < known.low - beyond
    number = above.sum() + below.sum()
    if not number:
        return data, ()
    extreme = data.max() if above.any() else data.min()
    data = np.where(above, known.high, np.where(below, known.low, data))
    said = (
        f"{number} of the voxels lie far outside of the range of all others, one at {extreme:.3g}; "
        f"they count as {known.high if above.any() else known.low:.3g}"
    )
    return data, (said,)


def _below_zero(data: np.ndarray) -> tuple[str, ...]:
    low, high = _range_of(_sample(data))
    if low >= -0.01 * (high - low):
        return ()
    return (f"values below zero, down to {low:.3g}: they are raised, so that it begins at 0",)


# -- What is no magnitude image ------------------------------------------------------------------

_SHELL, _CENTRE = 0.06, 0.4
"""Of each axis, what surrounds a head and what is within it."""
_UNEVEN = 0.08
_NEIGHBOURS = 0.75
_MID = (0.25, 0.75)
_ROUGHER = 1.6
"""A scan's surroundings are evenly filled with values, or nearly so, in the middle of their range,
alike from voxel to voxel less than a tissue is, and rougher than a head by this."""
_PHASES = ((-math.pi, math.pi), (-4096.0, 4094.0), (-4096.0, 4095.0), (-4096.0, 4096.0))


def _check_magnitude(path: Path | str, data: np.ndarray) -> None:
    """Raises ScanError for values that are no magnitudes.

    Air has a magnitude next to zero.  The ratio of an MP2RAGE UNI image, and a phase, are noise
    there that fills the whole range of values: no head stands out, and all of it counts as noise.
    """
    ends = float(data.min()), float(data.max())
    if any(np.allclose(ends, phase, rtol=1e-3) for phase in _PHASES):
        raise ScanError(
            f"{path} has values from {ends[0]:.5g} to {ends[1]:.5g}, as a phase image has; score "
            "the magnitude image"
        )
    if _is_noise_around(_within_margin(data)):
        raise ScanError(
            f"{path} has no dark air around the head but noise over the whole range of values, as "
            "an MP2RAGE UNI image or a phase image has; score the denoised UNI image (UNIDEN), "
            "UNI multiplied with the second inversion (INV2), or the magnitude image"
        )


def _within_margin(data: np.ndarray) -> np.ndarray:
    """Without faces that hold the most frequent value of all faces alone."""
    values, counts = np.unique(_faces(data), return_counts=True)
    inside = data != values[counts.argmax()]
    box = ndimage.find_objects(inside.astype(np.uint8))
    return data[box[0]] if box else data


def _is_noise_around(data: np.ndarray) -> bool:
    low, high = _range_of(_sample(data))
    if min(data.shape) < 8 or not high > low:
        return False
    scaled = np.clip((data - low) / (high - low), 0, 1)
    shell, pairs = [], []
    for axis in range(3):
        layers = max(round(_SHELL * data.shape[axis]), 1)
        for end in (np.s_[:layers], np.s_[-layers:]):
            slab = np.moveaxis(scaled, axis, 0)[end]
            shell.append(slab.ravel())
            pairs += [_neighbours(slab, 1), _neighbours(slab, 2)]
    around = np.concatenate(shell)
    one, other = np.concatenate(pairs, axis=1)
    if np.corrcoef(one, other)[0, 1] > _NEIGHBOURS:
        return False
    fifths = np.histogram(around, 5, (0, 1))[0] / around.size
    if np.abs(fifths - 0.2).max() < _UNEVEN:
        return True
    middle = scaled[tuple(np.s_[round(0.3 * n) : round(0.7 * n)] for n in data.shape)]
    within = np.median(np.abs(np.subtract(*_neighbours(middle, 1))))
    rough = np.median(np.abs(one - other))
    return bool(_MID[0] < np.median(around) < _MID[1] and rough > _ROUGHER * within)


def _neighbours(data: np.ndarray, axis: int) -> np.ndarray:
    """Each voxel and the next one along an axis, `(2, N)`."""
    moved = np.moveaxis(data, axis, 0)
    return np.stack([moved[:-1].ravel(), moved[1:].ravel()])
