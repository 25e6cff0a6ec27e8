"""A scan in three planes at its own resolution, its air and its k-space, as pictures for a report.

Pictures have a pixel for each voxel, whatever its shape; the page stretches them to mm.  The
subject's left is on the left, anterior or superior up.
"""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin
from scipy import ndimage

from qc_jax.scoring.copies import AXES, WHOLE_FIELD, Copy
from qc_jax.scoring.kspace import Evidence

AIR = 0.1
"""Upper end of the window of the air, as a share of that of the scan."""
_NAMES = ("axial", "coronal", "sagittal")
_AXES = ((0, 1), (0, 2), (1, 2))
"""Across and upwards, in each plane."""
_SIDES = (("L", "R"), ("L", "R"), ("P", "A"))
_ENDS = (("A", "P"), ("S", "I"), ("S", "I"))
_OUTLINE = (255, 127, 14)
_MOST = 512
"""Pixels along an edge; of a finer scan every second voxel is shown."""
_DARK, _EMPTY = 0.2, 0.9
"""Share of the brightest up to which most is air; share of what is zero there from which on the air
was masked."""
_THUMBNAIL = 96
"""Pixels of its height."""
_MOST_GAPS = 12
_TICK = 0.2


class Plane(NamedTuple):
    """A picture and what is written at it.

    Attributes:
      name: axial, coronal or sagittal.
      picture: base64 of a PNG.
      width, height: in mm, or in cycles per mm.
      sides: at its left and its right.
      ends: at its top and its bottom.
    """

    name: str
    picture: str
    width: float
    height: float
    sides: tuple[str, str]
    ends: tuple[str, str]


class Mark(NamedTuple):
    """Of what was found in k-space, in a plane of it.

    Attributes:
      kind: spike (a circle), edge (two lines) or gap (ticks).
      x, y: in cycles per mm, to the right and upwards of the middle; of an edge and a gap, which
        belong to one axis, 0 on the other one.
    """

    kind: str
    x: float
    y: float


class KPlane(NamedTuple):
    """A plane of k-space; see `Plane`.

    Attributes:
      across, upwards: the axes, in words.
      ticks_across, ticks_upwards: frequencies that are written at them.
      marks: of what was found.
    """

    name: str
    picture: str
    width: float
    height: float
    across: str
    upwards: str
    ticks_across: list[float]
    ticks_upwards: list[float]
    marks: list[Mark]


def crossing(
    axis: int, place: Sequence[int], shape: Sequence[int], voxel_size: Sequence[float]
) -> tuple[float, float]:
    """Where a voxel lies in a plane, in mm from its left and from its top."""
    across, upwards = _AXES[axis]
    return (
        (place[across] + 0.5) * float(voxel_size[across]),
        (shape[upwards] - place[upwards] - 0.5) * float(voxel_size[upwards]),
    )


def brightest(data: np.ndarray) -> float:
    """Upper end of the window of a scan, not negative: it leaves out half a percent of the head."""
    some = data.ravel()[::7]
    head = some[some > 0.3 * np.percentile(some, 98)]
    return max(float(np.percentile(head, 99.5)) if head.size else 0.0, float(np.finfo("f4").tiny))


def is_masked(data: np.ndarray, top: float) -> bool:
    """Whether nothing is left of the air of a scan."""
    dark = data.ravel()[::7]
    dark = dark[dark < _DARK * top]
    return bool(dark.size and np.mean(dark == 0) > _EMPTY)


def of_scan(
    data: np.ndarray, voxel_size: Sequence[float], place: Sequence[int], top: float
) -> list[Plane]:
    """Three planes through a voxel, from black at 0 to white at `top`."""
    return [
        plane(axis, _grey(cut(data, axis, place) / top), data.shape, voxel_size)
        for axis in range(3)
    ]


def outlined(
    data: np.ndarray,
    region: np.ndarray,
    voxel_size: Sequence[float],
    place: Sequence[int],
    top: float,
) -> list[Plane]:
    """As `of_scan`, with the border of a region, bool `(X, Y, Z)`, in colour."""
    planes = []
    for axis in range(3):
        inside = cut(region, axis, place)
        border = inside & ~ndimage.binary_erosion(inside)
        # The last of 256 values is the colour of the border.
        shown = np.minimum(_bytes(cut(data, axis, place) / top), 254)
        picture = Image.fromarray(np.where(border, 255, shown).astype(np.uint8), "P")
        greys = [level for i in range(255) for level in (i, i, i)]
        picture.putpalette([*greys, *_OUTLINE])
        planes.append(plane(axis, picture, data.shape, voxel_size))
    return planes


def thumbnail(
    data: np.ndarray, voxel_size: Sequence[float], place: Sequence[int], top: float
) -> bytes:
    """The three planes side by side, as the bytes of a small PNG."""
    parts = []
    for axis, (across, upwards) in enumerate(_AXES):
        picture = _grey(cut(data, axis, place) / top)
        width = data.shape[across] * voxel_size[across]
        height = data.shape[upwards] * voxel_size[upwards]
        size = (max(round(_THUMBNAIL * width / height), 1), _THUMBNAIL)
        parts.append(np.asarray(picture.resize(size, Image.Resampling.BILINEAR)))
    told = PngImagePlugin.PngInfo()
    told.add_text("Software", "qc_jax")
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(buffer, "PNG", pnginfo=told)
    return buffer.getvalue()


def of_k_space(evidence: Evidence, copies: Sequence[Copy]) -> list[KPlane]:
    """The planes of k-space, from black at the lowest to white at the highest but one in a
    thousand, with marks at what was found."""
    low = min(float(np.percentile(plane, 1)) for plane in evidence.planes)
    high = max(float(np.percentile(plane, 99.9)) for plane in evidence.planes)
    made = []
    for name, (across, upwards), plane in zip(_NAMES, _AXES, evidence.planes, strict=True):
        made.append(
            KPlane(
                f"{name} plane",
                _encoded(_grey((plane - low) / max(high - low, 1e-6))),
                2 * evidence.nyquist[across],
                2 * evidence.nyquist[upwards],
                AXES[across],
                AXES[upwards],
                _ticks(evidence.nyquist[across]),
                _ticks(evidence.nyquist[upwards]),
                _marks(evidence, copies, across, upwards),
            )
        )
    return made


def findings(evidence: Evidence, copies: Sequence[Copy]) -> list[str]:
    """A sentence for each mark; empty where nothing stands out."""
    said = [spike.sentence for spike in evidence.spikes]
    said += [edge.sentence for edge in evidence.edges]
    for copy in copies:
        lines = ""
        if copy.share != WHOLE_FIELD:
            lines = (
                f"; k-space is uneven every {1 / copy.distance:.3f} cycles per mm, one line in "
                f"{1 / copy.share:.3g}"
            )
        said.append(copy.sentence + lines)
    return said


def _marks(evidence: Evidence, copies: Sequence[Copy], across: int, upwards: int) -> list[Mark]:
    marks = []
    for spike in evidence.spikes:
        x, y = spike.frequency[across], spike.frequency[upwards]
        # A real image has each sample at the negative frequency as well.
        marks += [Mark("spike", x, y), Mark("spike", -x, -y)]
    lines = [("edge", e.axis, sign * e.frequency) for e in evidence.edges for sign in (-1, 1)]
    for copy in copies:
        if copy.share != WHOLE_FIELD:
            number = min(int(evidence.nyquist[copy.axis] * copy.distance), _MOST_GAPS)
            lines += [("gap", copy.axis, n / copy.distance) for n in range(-number, number + 1)]
    for kind, axis, at in lines:
        if axis in (across, upwards):
            marks.append(Mark(kind, at, 0.0) if axis == across else Mark(kind, 0.0, at))
    return marks


def _ticks(nyquist: float) -> list[float]:
    """Every fifth of a cycle per mm."""
    number = int(nyquist / _TICK + 1e-6)
    return [_TICK * n for n in range(-number, number + 1)]


# -- Pixels --------------------------------------------------------------------------------------


def cut(volume: np.ndarray, axis: int, place: Sequence[int]) -> np.ndarray:
    """`(height, width)` of the axial (0), coronal (1) or sagittal (2) plane through a voxel."""
    plane = volume[(slice(None),) * (2 - axis) + (place[2 - axis],)]
    step = -(-max(plane.shape) // _MOST)
    return plane.T[::-1][::step, ::step]


def plane(
    axis: int, picture: Image.Image, shape: Sequence[int], voxel_size: Sequence[float]
) -> Plane:
    """A picture of what `cut` gave, with what is written at it."""
    across, upwards = _AXES[axis]
    return Plane(
        _NAMES[axis],
        _encoded(picture),
        shape[across] * float(voxel_size[across]),
        shape[upwards] * float(voxel_size[upwards]),
        _SIDES[axis],
        _ENDS[axis],
    )


def _bytes(share: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _grey(share: np.ndarray) -> Image.Image:
    return Image.fromarray(_bytes(share))


def _encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
