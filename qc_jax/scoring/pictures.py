"""Pictures of a scan and of maps over it, for the reports.

Volumes are `(X, Y, Z)` in RAS orientation, images in [0, 1]; a picture is `(height, width, 3)` in
[0, 1], with the subject's left on the left, anterior or superior up.
"""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from qc_jax.scoring.scale import Range

_SLICES, _COLUMNS = 8, 4
_ZOOM, _PLANE_ZOOM = 2, 3
_COLOURS = "viridis"
_FAINTEST = 0.35
"""Opacity of what is just above the low end of a range, so that it is seen."""
_GAP = 2
"""Voxels between planes."""
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


def over_planes(
    image: np.ndarray, variance: np.ndarray, colours: Range, place: tuple[int, ...]
) -> np.ndarray:
    """The axial, coronal and sagittal plane of a place side by side, lines through the place, and
    below them the same planes with a map over them."""
    plain = _in_grey(_planes(image, place))
    above = _with_lines(plain, place, image.shape)
    below = _over(plain, _planes(colours.shares(variance), place))
    both = np.concatenate([above, np.zeros((_GAP, *above.shape[1:])), below])
    return _with_sides(both, image.shape)


def png(picture: np.ndarray) -> str:
    """A picture as base64 of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _mosaic(volume: np.ndarray, slices: np.ndarray) -> np.ndarray:
    shown = [volume[:, ::-1, z].swapaxes(0, 1) for z in slices]
    shown += [np.zeros_like(shown[0])] * (-len(shown) % min(_COLUMNS, len(shown)))
    rows = [np.concatenate(shown[i : i + _COLUMNS], axis=1) for i in range(0, len(shown), _COLUMNS)]
    return np.concatenate(rows).repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)


def _planes(volume: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
    """`(height, width)`, of the tallest plane; the others end above its lower edge."""
    x, y, z = place
    planes = [volume[:, ::-1, z].T, volume[:, y, ::-1].T, volume[x, :, ::-1].T]
    height = max(len(plane) for plane in planes)
    padded = [np.pad(plane, ((0, height - len(plane)), (0, _GAP))) for plane in planes]
    row = np.concatenate(padded, axis=1)
    return row.repeat(_PLANE_ZOOM, axis=0).repeat(_PLANE_ZOOM, axis=1)


def _with_lines(picture: np.ndarray, place: tuple[int, ...], shape) -> np.ndarray:
    """With the two other planes of each as lines, half transparent."""
    x, y, z = place
    right, front, top = shape
    crossings = (
        (0, x, front - 1 - y),
        (right + _GAP, x, top - 1 - z),
        (2 * (right + _GAP), y, top - 1 - z),
    )
    sizes = ((right, front), (right, top), (front, top))
    marked = picture.copy()
    for (start, across, down), (width, height) in zip(crossings, sizes, strict=True):
        middle = _PLANE_ZOOM // 2
        column = _PLANE_ZOOM * (start + across) + middle
        row = _PLANE_ZOOM * down + middle
        columns = slice(_PLANE_ZOOM * start, _PLANE_ZOOM * (start + width))
        for part in (np.s_[: _PLANE_ZOOM * height, column], np.s_[row, columns]):
            marked[part] = 0.5 * marked[part] + 0.5 * np.array(matplotlib.colors.to_rgb("cyan"))
    return marked


def _with_sides(picture: np.ndarray, shape) -> np.ndarray:
    """With L and R in the axial and the coronal plane, A and P in the sagittal one."""
    drawn = Image.fromarray(np.rint(255 * picture).astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    right, front, _ = shape
    starts = (0, right + _GAP, 2 * (right + _GAP))
    for start, width, sides in zip(starts, (right, right, front), ("LR", "LR", "PA"), strict=True):
        pen.text((_PLANE_ZOOM * start + 4, 2), sides[0], fill="white", font_size=16)
        end = (_PLANE_ZOOM * (start + width) - 4, 2)
        pen.text(end, sides[1], fill="white", font_size=16, anchor="ra")
    return np.asarray(drawn) / 255


def _in_grey(plane: np.ndarray) -> np.ndarray:
    return np.repeat(plane[..., None], 3, axis=-1)


def _over(picture: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours over a picture from just above the low end of their range on, growing opaque."""
    colours = matplotlib.colormaps[_COLOURS](share)[..., :3]
    alpha = np.where(share > 0, _FAINTEST + (0.9 - _FAINTEST) * share, 0.0)[..., None]
    return (1 - alpha) * picture + alpha * colours
