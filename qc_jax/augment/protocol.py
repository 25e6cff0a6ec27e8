"""How a scan is acquired: field of view, matrix, axes, coverage of k-space, coils, storage.

Lengths are in mm, axes 0, 1 and 2 those of the image, which keeps its orientation.  k-space is
filled line by line: along the readout axis a line is sampled at once, along the phase axis lines
follow each other from one excitation to the next, and along the partition axis they follow each
other within a 3-D slab, or, in 2-D, a slice is excited at a time (Bernstein, King and Zhou 2004,
Handbook of MRI Pulse Sequences).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qc_jax.arrays import Float, Triple
from qc_jax.errors import ConfigError

SMALLEST, LARGEST = 0.5, 7.0
"""Voxel sizes that can be acquired, in mm."""
_MOST_COILS = 32
_MOST_LINES = 1024


class Axes(NamedTuple):
    """Which axis of the image is encoded how; a permutation of 0, 1 and 2."""

    readout: int
    phase: int
    partition: int


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Of one scan.

    Attributes:
      field_of_view: `(3,)` mm along the axes of the image.
      matrix: `(3,)` lines of k-space sampled, that is voxels before zero filling.
      centre: `(3,)` mm from the centre of the image to that of the field of view.
      axes: encoding of each axis.
      slices: whether slices are excited one by one along the partition axis (2-D).
      zero_filling: `(3,)` voxels stored over voxels acquired, 1 to 2; not across slices.
      partial_phase, partial_partition: share of the lines sampled, above 0.5, the rest zero.
      elliptical: whether the corners of phase x partition are left out.
      apodisation: share of each half of k-space that is tapered: 0 for none, 1 for a Hann window,
        between them Tukey's.
      coils: channels, combined by the root of the sum of squares.
      correlation: of the noise of neighbouring coils, below 1.
      phase: `(3,)` radians by which the head's phase differs 100 mm from the centre of its image,
        with the square of the distance along each axis, as where the field is not uniform; the
        magnitude of a whole k-space does not show it, what interferes does.
      snr_db: 10 log10(signal power / noise power) without any artefact, in dB.
      largest: grey value of the brightest voxel, rounded to integers; 0 for no rounding.
    """

    field_of_view: tuple[float, float, float] = (192.0, 256.0, 256.0)
    matrix: tuple[int, int, int] = (192, 256, 256)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: Axes = Axes(1, 0, 2)  # noqa: RUF009 (a tuple)
    slices: bool = False
    zero_filling: tuple[float, float, float] = (1.0, 1.0, 1.0)
    partial_phase: float = 1.0
    partial_partition: float = 1.0
    elliptical: bool = False
    apodisation: float = 0.0
    coils: int = 1
    correlation: float = 0.0
    phase: tuple[float, float, float] = (0.0, 0.0, 0.0)
    snr_db: float = 30.0
    largest: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError for what no scanner does."""
        for name in ("field_of_view", "matrix", "centre", "axes", "zero_filling", "phase"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"{name} {getattr(self, name)} needs three numbers, one an axis")
        if sorted(self.axes) != [0, 1, 2]:
            raise ConfigError(f"axes {tuple(self.axes)} have to be 0, 1 and 2, each of them once")
        if not all(isinstance(n, int | np.integer) and 2 <= n <= _MOST_LINES for n in self.matrix):
            raise ConfigError(f"matrix {self.matrix} needs whole numbers from 2 to {_MOST_LINES}")
        if not np.isfinite([*self.field_of_view, *self.centre, *self.phase]).all():
            raise ConfigError("field_of_view, centre and phase have to be finite")
        if not all(SMALLEST <= size <= LARGEST for size in self.voxel_size):
            sizes = " x ".join(f"{size:.3g}" for size in self.voxel_size)
            raise ConfigError(
                f"voxels of {sizes} mm are out of range; field_of_view over matrix has to be "
                f"from {SMALLEST} to {LARGEST} mm"
            )
        if not all(1 <= factor <= 2 for factor in self.zero_filling):
            raise ConfigError(
                f"zero_filling {self.zero_filling} has to be from 1 to 2 on each axis"
            )
        if self.slices and self.zero_filling[self.axes.partition] != 1:
            raise ConfigError("slices are not zero-filled across: zero_filling has to be 1 there")
        if self.slices and (self.elliptical or self.partial_partition != 1):
            raise ConfigError(
                "slices are not encoded across: elliptical and partial_partition need slices=False"
            )
        for name, low, high in (
            ("partial_phase", 0.5, 1.0),
            ("partial_partition", 0.5, 1.0),
            ("apodisation", 0.0, 1.0),
            ("correlation", 0.0, 0.99),
            ("coils", 1, _MOST_COILS),
            ("largest", 0, 65535),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} {getattr(self, name)} has to be from {low} to {high}")
        if np.isnan(self.snr_db):
            raise ConfigError("snr_db is not a number; it is in dB, infinite for no noise")

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Acquired, in mm."""
        x, y, z = (fov / n for fov, n in zip(self.field_of_view, self.matrix, strict=True))
        return x, y, z

    @property
    def stored(self) -> tuple[int, int, int]:
        """Voxels of the scan along each axis, after zero filling."""
        x, y, z = (round(n * f) for n, f in zip(self.matrix, self.zero_filling, strict=True))
        return x, y, z

    @property
    def stored_voxel_size(self) -> tuple[float, float, float]:
        """After zero filling, in mm."""
        x, y, z = (fov / n for fov, n in zip(self.field_of_view, self.stored, strict=True))
        return x, y, z

    @property
    def encoded(self) -> tuple[int, ...]:
        """The axes along which one excitation follows the other: phase, and partition in 3-D."""
        return (self.axes.phase,) if self.slices else (self.axes.phase, self.axes.partition)

    def affine(
        self, image_affine: np.ndarray, shape: Sequence[int], voxel_size: Triple
    ) -> np.ndarray:
        """Where the scan lies: voxels of it to world coordinates, `(4, 4)`.

        Args:
          image_affine: of the head that is scanned, `(4, 4)`.
          shape: voxels of the head's image.
          voxel_size: `(3,)` mm of the head's image.
        """
        scale = np.asarray(self.stored_voxel_size) / np.asarray(voxel_size)
        to_image = np.diag([*scale, 1.0])
        middle = (np.asarray(shape) - 1) / 2 + np.asarray(self.centre) / np.asarray(voxel_size)
        to_image[:3, 3] = middle - scale * (np.asarray(self.stored) - 1) / 2
        return np.asarray(image_affine) @ to_image


_WHOLE_AXES = ((1, 0, 2), (2, 0, 1), (2, 1, 0), (1, 2, 0), (0, 1, 2))
"""(readout, phase, partition) in RAS: sagittal, coronal and axial slabs, the two usual ones first.

Readout along the longest side of the head, head to foot or front to back, is what protocols use.
"""


_MANY = 13_000_000
"""Voxels from which on there is one coil: four of 256^3 with motion take nine minutes."""


def draw_protocol(
    rng: np.random.Generator,
    head_box: Float[np.ndarray, "2 3"],
    finest: float = 0.7,
    *,
    slices: bool | None = None,
) -> Protocol:
    """A protocol as they are in use for brains, its field of view around the head.

    Most are 3-D with voxels of 0.7 to 1.4 mm; one in ten is 2-D with slices of 2 to 6 mm.  The
    matrix is a multiple of 16, so that there are not as many compiled programs as scans, and there
    are at most four coils, which cost time and memory four times, and one where it is large.

    Args:
      rng: everything random comes from it.
      head_box: `(2, 3)` mm, the lowest and the highest corner of the head from the centre of the
        image, see `fold_over.head_box`.
      finest: voxel size of the head's image in mm: nothing smaller is acquired, since there is
        nothing to be seen of it, but zero filling goes below.
      slices: 2-D or 3-D; drawn by default.
    """
    low, high = np.asarray(head_box, float)
    slices = bool(rng.random() < 0.1) if slices is None else slices
    axes = Axes(*_WHOLE_AXES[rng.choice(5, p=(0.35, 0.25, 0.15, 0.15, 0.1))])
    if slices:
        axes = Axes(*((1, 0, 2), (0, 1, 2), (2, 1, 0))[rng.choice(3, p=(0.6, 0.2, 0.2))])
    sizes = _draw_voxel_size(rng, axes, slices, finest)
    extent = np.maximum(high - low, 16 * sizes)
    margin = rng.uniform(1.02, 1.25, 3)
    if rng.random() < 0.35 and sizes.min() > 0.95:
        # A cube, as many scans are: ghosts lie in the air beside the head.
        margin = margin[0] * extent.max() / extent
    matrix = 16 * np.ceil(extent * margin / sizes / 16).astype(int)
    if slices:
        partition = axes.partition
        matrix[partition] = np.ceil(extent[partition] * margin[partition] / sizes.max())
    field_of_view = matrix * sizes
    spare = (field_of_view - (high - low)) / 2
    centre = (low + high) / 2 + rng.uniform(-0.5, 0.5, 3) * np.maximum(spare, 0.0)
    filling = _draw_zero_filling(rng, axes, slices)
    volume = not slices
    coils = int(rng.choice([1, 2, 4], p=(0.6, 0.2, 0.2)))
    return Protocol(
        field_of_view=_three(field_of_view),
        matrix=(int(matrix[0]), int(matrix[1]), int(matrix[2])),
        centre=_three(centre),
        axes=axes,
        slices=slices,
        zero_filling=_three(filling),
        partial_phase=float(rng.choice([1.0, 0.875, 0.75], p=(0.75, 0.15, 0.1))),
        partial_partition=float(rng.choice([1.0, 0.75], p=(0.85, 0.15))) if volume else 1.0,
        elliptical=bool(volume and rng.random() < 0.3),
        apodisation=float(rng.choice([0.0, rng.uniform(0.1, 1.0)])),
        coils=coils if matrix.prod() < _MANY else 1,
        correlation=float(rng.uniform(0.0, 0.4)),
        phase=_three(rng.uniform(-2.0, 2.0, 3)),
        snr_db=float(rng.uniform(18.0, 32.0)),
        largest=0 if rng.random() < 0.2 else int(rng.integers(200, 4096)),
    )


def _draw_voxel_size(
    rng: np.random.Generator, axes: Axes, slices: bool, finest: float
) -> np.ndarray:
    """`(3,)` mm, see `draw_protocol`."""
    edge = rng.choice([1.0, rng.uniform(0.7, 1.4)])
    sizes = np.full(3, max(edge, finest))
    if rng.random() < 0.4:  # the other axes as they are, one coarser
        sizes[rng.integers(3)] = max(rng.uniform(1.0, 1.4), finest)
    if slices:
        sizes[axes.partition] = rng.uniform(2.0, 6.0)
    return sizes


def _draw_zero_filling(rng: np.random.Generator, axes: Axes, slices: bool) -> np.ndarray:
    """`(3,)`, how many times as many voxels as were acquired."""
    filling = np.ones(3)
    if rng.random() < 0.35:
        filling[:] = rng.choice([4 / 3, 1.5, 2.0])
        if slices or rng.random() < 0.6:  # in the plane only
            filling[axes.partition] = 1.0
    return filling


def as_stored(shape: Sequence[int], voxel_size: Triple, axes: Axes) -> Protocol:
    """An acquisition that gives an image back on its own grid, with nothing added.

    Args:
      shape: voxels of the image.
      voxel_size: `(3,)` mm of the image.
      axes: which axis of it is encoded how.

    Raises:
      ConfigError: no scanner has such voxels.
    """
    x, y, z = (n * mm for n, mm in zip(shape, voxel_size, strict=True))
    i, j, k = shape
    return Protocol((x, y, z), (i, j, k), axes=axes, snr_db=float("inf"))


def _three(numbers: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, numbers)
    return x, y, z
