"""Pictures of a scan and of maps over it, for the reports.

Volumes are `(X, Y, Z)` in RAS orientation, images in [0, 1]; a picture is `(height, width, 3)` in
[0, 1], with the subject's left on the left, anterior or superior up.
"""

import base64
import io
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from qc_jax.scoring import planes
from qc_jax.scoring.planes import Plane
from qc_jax.scoring.scale import Range

_SLICES, _COLUMNS = 8, 4
_ZOOM = 2
_COLOURS = "viridis"
_FAINTEST = 0.35
"""Opacity of what is just above the low end of a range, so that it is seen."""
_SPREAD = 4.0
"""mm over which a map is averaged to find its worst place: no single voxel is one."""


def gradient() -> str:
    """The colours of a map from the low to the high end of its range, for CSS."""
    shown = matplotlib.colormaps[_COLOURS](np.linspace(0, 1, 9))
    return ", ".join(map(matplotlib.colors.to_hex, shown))


def slices_of(mask: np.ndarray) -> np.ndarray:
    """Axial slices evenly spread over the cranium: the lowest third holds face and neck."""
    levels = np.flatnonzero(mask.any(axis=(0, 1)))
    low = levels[0] + 0.3 * (levels[-1] - levels[0])
    return np.linspace(low, levels[-1] - 4, _SLICES).round().astype(int)


def worst_place(variance: np.ndarray, mask: np.ndarray, voxel_size: float) -> tuple[int, ...]:
    """The voxel of a head around which a map is highest; `voxel_size` in mm."""
    inside = np.where(mask, variance, 0.0)
    smooth = ndimage.gaussian_filter(inside, _SPREAD / voxel_size)
    return tuple(int(i) for i in np.unravel_index(np.argmax(smooth), smooth.shape))


def axial(image: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Axial slices, four in a row so that all of them are seen on a small screen, enlarged."""
    return _in_grey(_mosaic(image, slices))


def outlined(image: np.ndarray, region: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """As `axial`, with the border of a region, bool."""
    row = _mosaic(region, slices)
    outline = row & ~ndimage.binary_erosion(row)
    picture = axial(image, slices)
    picture[outline] = matplotlib.colors.to_rgb("tab:orange")
    return picture


def over_slices(
    image: np.ndarray, variance: np.ndarray, colours: Range, slices: np.ndarray
) -> np.ndarray:
    """As `axial`, with a map over it."""
    return _over(axial(image, slices), _mosaic(colours.shares(variance), slices))


class Pair(NamedTuple):
    """A plane without and with a map over it.

    Attributes:
      plain, mapped: the plane.
      cross: of the two other planes, in mm from its left and from its top.
    """

    plain: Plane
    mapped: Plane
    cross: tuple[float, float]


def over_planes(
    image: np.ndarray,
    variance: np.ndarray,
    colours: Range,
    place: tuple[int, ...],
    voxel_size: float,
) -> list[Pair]:
    """The axial, coronal and sagittal plane of a place; `voxel_size` in mm."""
    shares, sizes, pairs = colours.shares(variance), (voxel_size,) * 3, []
    for axis in range(3):
        plain = _in_grey(planes.cut(image, axis, place))
        mapped = _over(plain, planes.cut(shares, axis, place))
        pairs.append(
            Pair(
                planes.plane(axis, _drawn(plain), image.shape, sizes),
                planes.plane(axis, _drawn(mapped), image.shape, sizes),
                planes.crossing(axis, place, image.shape, sizes),
            )
        )
    return pairs


def png(picture: np.ndarray) -> str:
    """A picture as base64 of a PNG."""
    buffer = io.BytesIO()
    _drawn(picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _drawn(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * picture).astype(np.uint8))


def _mosaic(volume: np.ndarray, slices: np.ndarray) -> np.ndarray:
    shown = [volume[:, ::-1, z].swapaxes(0, 1) for z in slices]
    shown += [np.zeros_like(shown[0])] * (-len(shown) % min(_COLUMNS, len(shown)))
    rows = [np.concatenate(shown[i : i + _COLUMNS], axis=1) for i in range(0, len(shown), _COLUMNS)]
    return np.concatenate(rows).repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)


def _in_grey(plane: np.ndarray) -> np.ndarray:
    return np.repeat(plane[..., None], 3, axis=-1)


def _over(picture: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours over a picture from just above the low end of their range on, growing opaque."""
    colours = matplotlib.colormaps[_COLOURS](share)[..., :3]
    alpha = np.where(share > 0, _FAINTEST + (0.9 - _FAINTEST) * share, 0.0)[..., None]
    return (1 - alpha) * picture + alpha * colours
