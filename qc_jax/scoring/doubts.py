"""Signs that a scan is not a T1-weighted one of an adult head in usual quality.

A network says something of any image.  Each measure here is a small function that looks at the scan
and at the segmentation that was found; `doubts` says in sentences which of them are out of range.
Images are those of the grid of a model, `(X, Y, Z)` in [0, 1] with isotropic voxels, unless said
otherwise; masks are bool of the same shape.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_VOLUME = (350.0, 1500.0)
"""mL of grey matter that is found in an adult: at 90 years 500, in T2 weighting 170 to 310."""
_THICK = 3.0
"""mm, from which on cortex cannot be seen."""
_CLOSING = 8.0
"""mm by which grey matter is closed to what it encloses."""
_BESIDE = 6.0
"""mm from grey matter where white matter is."""
_BINS = 100
"""Of the histogram in which white matter is the highest peak."""
_LOW_CONTRAST = 0.17
"""Clean scans, of old people as well, have 0.24 to 0.43; a sixth of the usual contrast 0.12."""
_CLIPPED = 0.05
"""Of the brain.  Clean scans have less than 0.01, clipped white matter has 0.2."""
_BIAS = 0.38
"""Clean scans have up to 0.34; a field that changes by a factor of 2.2 from left to right 0.43."""
_VOID, _RIM = 3.0, 0.15
"""mL of a void, and the share of its rim that is bright: 0.3 around metal, of other holes 0."""
_ZIPPER = 1.8
"""Roughness of a plane over that of its neighbours.  Clean scans have up to 1.2, dots of a fifth of
the head's intensity 1.7 to 18."""
_ONE_SIDED = 0.2
"""Mean of a plane over that of the next but one, below which what was scanned ends between them: a
cut neck in a scan that was padded with zeros is no zipper."""


def doubts(
    image: np.ndarray,
    grey: np.ndarray,
    voxel_size: float,
    data: np.ndarray,
    data_voxel_size: Sequence[float],
) -> tuple[str, ...]:
    """What makes it doubtful that the model knows such scans; nothing for a usual one.

    Args:
      image: `(X, Y, Z)` in [0, 1], on the model's grid.
      grey: `(X, Y, Z)` bool, the grey matter found.
      voxel_size: of the model's grid, in mm.
      data: `(X, Y, Z)`, the scan on its own grid, any scale, in RAS orientation.
      data_voxel_size: `(3,)` mm.
    """
    found = []
    thickest = max(data_voxel_size)
    if thickest > _THICK:
        found.append(f"blur: the file's own voxels are {thickest:.2g} mm")
    ratio, axis, plane = zipper(data)
    if ratio > _ZIPPER:
        found.append(
            f"plane {plane} along {'xyz'[axis]} has {ratio:.1f} times the roughness of its "
            "neighbours: a zipper, or a slice of its own"
        )
    volume = float(grey.sum()) * voxel_size**3 / 1000
    if not _VOLUME[0] < volume < _VOLUME[1]:
        found.append(
            f"grey matter of {volume:.0f} mL is not that of a whole adult head in T1 weighting"
        )
    region = brain(grey, voxel_size)
    white = white_matter(image, grey, region, voxel_size)
    if not grey.any() or not white.any():
        return tuple(found)
    difference = contrast(image, grey, white)
    if difference < 0:
        found.append(
            f"white matter is darker than grey matter by {-difference:.0%}: not T1-weighted, or "
            "not an adult"
        )
    elif difference < _LOW_CONTRAST:
        found.append(
            f"white matter is only {difference:.0%} brighter than grey matter: too little contrast"
        )
    share = clipped(image, region)
    if share > _CLIPPED:
        found.append(f"{share:.0%} of the brain have the highest value there is: clipped")
    spread = bias(image, white, voxel_size)
    if spread > _BIAS:
        found.append(
            f"white matter varies by {spread:.0%} from place to place: a strong bias field"
        )
    hole, rim = void(image, region, white, voxel_size)
    if hole > _VOID and rim > _RIM:
        found.append(f"a dark hole of {hole:.0f} mL with a bright rim in the brain: metal")
    return tuple(found)


def brain(grey: np.ndarray, voxel_size: float) -> np.ndarray:
    """What grey matter encloses: its closing by `_CLOSING` mm, holes filled."""
    width = 2 * round(_CLOSING / voxel_size) + 1
    grown = ndimage.maximum_filter(np.pad(grey, width).astype(np.uint8), width)
    filled = ndimage.binary_fill_holes(grown).astype(np.uint8)
    inner = (slice(width, -width),) * 3
    return (ndimage.minimum_filter(filled, width)[inner] > 0) | grey


def white_matter(
    image: np.ndarray, grey: np.ndarray, region: np.ndarray, voxel_size: float
) -> np.ndarray:
    """Within the brain, 2 to `_BESIDE` mm from grey matter, what is within 45 % of the commonest
    intensity there: ventricles are farther from it, and are not as uniform."""
    reach = max(round(_BESIDE / voxel_size), 1)
    beside = ndimage.binary_dilation(grey, iterations=1 + reach) & ~ndimage.binary_dilation(grey)
    beside &= ndimage.binary_erosion(region, iterations=2)
    if not beside.any():
        return beside
    numbers, edges = np.histogram(image[beside], _BINS, (0.0, float(image[beside].max()) + 1e-6))
    commonest = edges[np.argmax(ndimage.gaussian_filter1d(numbers.astype(float), 2.0))]
    return beside & (np.abs(image - commonest) <= 0.45 * commonest)


def contrast(image: np.ndarray, grey: np.ndarray, white: np.ndarray) -> float:
    """(W - G) / W of the medians W of white and G of grey matter; higher is better.

    0.24 to 0.43 in T1-weighted scans; negative where white matter is darker: T2-weighted scans,
    FLAIR, proton density, and before the first birthday.
    """
    of_white, of_grey = np.median(image[white]), np.median(image[grey])
    return float((of_white - of_grey) / of_white) if of_white > 0 else 0.0


def clipped(image: np.ndarray, region: np.ndarray) -> float:
    """Share of the brain at the highest value of the scan, 0 to 1; lower is better.

    Voxels of clipped white matter average to the very value where it was clipped.
    """
    return float(np.mean(image[region] >= 0.997 * image.max())) if region.any() else 0.0


def bias(image: np.ndarray, white: np.ndarray, voxel_size: float, width: float = 15.0) -> float:
    """Range of the white matter's local means, 3rd to 97th percentile, over their median.

    Args:
      image: `(X, Y, Z)`.
      white: `(X, Y, Z)` bool.
      voxel_size: in mm.
      width: of the Gaussian that makes means local, its standard deviation in mm.

    Returns:
      0.15 to 0.4 in usual scans; lower is better.
    """
    share = ndimage.gaussian_filter(white.astype(np.float32), width / voxel_size, truncate=2.0)
    total = ndimage.gaussian_filter(image * white, width / voxel_size, truncate=2.0)
    enough = white & (share > 0.02)
    if not enough.any():
        return 0.0
    low, middle, high = np.percentile(total[enough] / share[enough], [3, 50, 97])
    return float((high - low) / middle) if middle > 0 else 0.0


def void(
    image: np.ndarray, region: np.ndarray, white: np.ndarray, voxel_size: float
) -> tuple[float, float]:
    """The hole in the brain with the brightest rim.

    Metal takes the signal away around it and piles it up at the border of the hole.

    Returns:
      Its volume in mL, and the share of the 6 mm around it that is 1.4 times as bright as white
      matter; 0 and 0 where there is none of more than a cube of 5 voxels.
    """
    of_white = np.median(image[white]) if white.any() else 0.0
    dark = ndimage.binary_opening(image < 0.15 * of_white, iterations=2) & region
    parts, _ = ndimage.label(dark)
    best = (0.0, 0.0)
    reach = round(8.0 / voxel_size)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        box = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in box)
        hole = parts[box] == number
        if hole.sum() < 5**3:
            continue
        rim = ndimage.binary_dilation(hole, iterations=reach) & ~ndimage.binary_dilation(hole)
        bright = float(np.mean(image[box][rim] > 1.4 * of_white))
        best = max(best, (float(hole.sum()) * voxel_size**3 / 1000, bright), key=lambda b: b[1])
    return best


def zipper(data: np.ndarray) -> tuple[float, int, int]:
    """How much rougher one plane is than those beside it.

    A radio frequency from outside is one position along the readout: a plane of alternating bright
    dots through the whole scan.

    Args:
      data: `(X, Y, Z)`, the scan on its own grid.

    Returns:
      The mean difference from both neighbours, of a plane over that of the planes 2 to 5 away, the
      largest; the axis across that plane; and its number.
    """
    best = (0.0, 0, 0)
    floor = 0.02 * float(np.mean(data))
    for axis in range(3):
        planes = np.moveaxis(np.asarray(data, np.float32), axis, 0)[:, ::3, ::3]
        if len(planes) < 16:
            continue
        rough = np.mean(np.abs(planes[1:-1] - 0.5 * (planes[:-2] + planes[2:])), axis=(1, 2))
        mean = np.mean(np.abs(planes), axis=(1, 2))
        lower, higher = np.minimum(mean[:-2], mean[2:]), np.maximum(mean[:-2], mean[2:])
        rough = np.where(lower > _ONE_SIDED * higher, rough, 0.0)
        beside = [np.roll(rough, step) for step in (-5, -4, -3, -2, 2, 3, 4, 5)]
        ratio = (rough / (np.max(beside, axis=0) + floor))[5:-5]
        place = int(np.argmax(ratio))
        best = max(best, (float(ratio[place]), axis, place + 6))
    return best
