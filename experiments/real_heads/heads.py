"""Heads that count as clean: files that are found, whose they are, and what is seen of them.

Images are `(X, Y, Z)` float32 in [0, 1], in RAS orientation; masks are bool of that shape.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from qc_jax import augment, files
from qc_jax.data import found_files, nifti, pairs
from qc_jax.errors import ConfigError
from qc_jax.scoring.conform import from_zero

CRANIUM = 140.0
"""mm from the top of the head downwards that hold the brain."""
_TALLEST, _LONGEST = 170.0, 190.0
"""mm that a brain alone has from foot to head and from back to front; a whole head has more of at
least one of them."""
_CLOSED, _AROUND = 10.0, 3.0
"""mm: what a closing of grey matter bridges, and how far from it a brain reaches."""


class Head(NamedTuple):
    """A scan that counts as clean.

    Attributes:
      name: of its file.
      image: `(X, Y, Z)` in [0, 1], in RAS orientation.
      affine: `(4, 4)`, voxels to mm.
      grey_matter: `(X, Y, Z)` bool, or None where it is not known.
      digests: SHA-256 of its file, and of that of its labels.
    """

    name: str
    image: np.ndarray
    affine: np.ndarray
    grey_matter: np.ndarray | None
    digests: tuple[str, ...]

    @property
    def person(self) -> str:
        """Whose head it is: the name up to the subject of BIDS, or all of it."""
        found = re.match(r".*?sub-[A-Za-z0-9]+", self.name)
        return found.group() if found else self.name.removesuffix("_T1w")

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """In mm, to a thousandth, so that heads of one protocol share compiled programs."""
        x, y, z = np.round(np.linalg.norm(self.affine[:3, :3], axis=0), 3).tolist()
        return x, y, z

    @property
    def box(self) -> np.ndarray:
        """`(2, 3)` mm, see `augment.head_box`."""
        return augment.head_box(self.image, self.voxel_size)

    @property
    def stripped(self) -> bool:
        """Whether all that is seen is a brain, by the size of what is not dark."""
        _, length, height = self.box[1] - self.box[0]
        return bool(height < _TALLEST and length < _LONGEST)


def find(places: Sequence[Path]) -> list[Path]:
    """The scans that are named, and those in the folders that are named, less their labels.

    Raises:
      ConfigError: none, or two of one name.
    """
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            found.append(place)
            continue
        inside = [path for path in sorted(place.iterdir()) if nifti.is_nifti(path)]
        scans = [p for p in inside if not nifti.stem(p).endswith(found_files.LABEL_ENDINGS)]
        if not scans:
            raise ConfigError(f"{place} holds no scan; put NAME.nii.gz of clean heads there")
        found += scans
    if not found:
        raise ConfigError("no scan is given; name NIfTI files of clean heads, or folders of them")
    names: dict[str, Path] = {}
    for path in found:
        other = names.setdefault(nifti.stem(path), path)
        if other is not path:
            raise ConfigError(f"{other} and {path} have one name; rename one of them, or leave it")
    return found


def read(scan: Path) -> Head:
    """A scan, and its labels where they lie beside it.

    Raises:
      ConfigError: one of them cannot be used.
    """
    label = pairs.label_beside(scan)
    if label:
        data, grey_matter, affine = pairs.read_labelled(scan, label)
    else:
        (data, affine), grey_matter = nifti.read_volume(scan), None
    nifti.check_scan(scan, data, affine)
    image = np.asarray(augment.rescale(from_zero(data)))
    digests = tuple(files.sha256(path) for path in (scan, label) if path)
    return Head(nifti.stem(scan), image, affine, grey_matter, digests)


def brain_of(grey_matter: np.ndarray, voxel_size: Sequence[float]) -> np.ndarray:
    """Grey matter and what it encloses: closed over 10 mm, filled, and 3 mm around it.

    Args:
      grey_matter: `(X, Y, Z)` bool, cortex and deep grey matter, with some of it.
      voxel_size: `(3,)` mm.

    Returns:
      `(X, Y, Z)` bool; white matter and ventricles as well, and a rim of what surrounds the brain.
    """
    margin = [int(np.ceil((_CLOSED + _AROUND) / size)) + 1 for size in voxel_size]
    (where,) = ndimage.find_objects(grey_matter.astype(np.int8))
    brain = np.pad(grey_matter[where], [(m, m) for m in margin])
    near = ndimage.distance_transform_edt(~brain, voxel_size) <= _CLOSED
    brain = ndimage.distance_transform_edt(near, voxel_size) > _CLOSED
    for axis in range(3):
        planes = np.moveaxis(brain, axis, 0)
        for number, plane in enumerate(planes):
            planes[number] = ndimage.binary_fill_holes(plane)
    brain = ndimage.distance_transform_edt(~brain, voxel_size) <= _AROUND
    padded = np.zeros([n + 2 * m for n, m in zip(grey_matter.shape, margin, strict=True)], bool)
    padded[tuple(slice(s.start, s.stop + 2 * m) for s, m in zip(where, margin, strict=True))] = (
        brain
    )
    return padded[tuple(slice(m, -m) for m in margin)]
