"""Scans of other formats than NIfTI, as the NIfTI images that they would be.

FreeSurfer's MGH and MGZ, MINC and pairs of header and voxels (Analyze, NIfTI) through nibabel, NRRD
through pynrrd where that is installed; for DICOM see `dicom`.
"""

import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from qc_jax.data import dicom, geometry, nifti
from qc_jax.errors import ScanError, UnreadableError, one_line
from qc_jax.missing import why_missing

PAIRS = (".img", ".hdr")
_BY_NIBABEL = (".mgz", ".mgh", ".mgh.gz", ".mnc", ".mnc.gz", *PAIRS)
_BY_PYNRRD = (".nrrd", ".nhdr")
SUFFIXES = (*nifti.SUFFIXES, *_BY_NIBABEL, *_BY_PYNRRD)
"""What the names of scans end in, in small or capital letters."""
_SIGNS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
"""Of the axes of the world of an NRRD file; short names are their initials."""


def is_scan(path: Path) -> bool:
    """By its name; a hidden file is none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def read_scan(path: Path) -> nifti.Read:
    """A scan of any known format, with its header checked; see `nifti.read_image`.

    Raises:
      ScanError: it cannot be read, is no single volume, or what reads it is not installed.
    """
    name = path.name.lower()
    if path.is_dir():
        return dicom.read_folder(path)
    if name.endswith(dicom.ARCHIVES):
        return dicom.read_archive(path)
    if name.endswith(_BY_NIBABEL):
        return _read(path, _by_nibabel)
    if name.endswith(_BY_PYNRRD):
        return _read(path, _by_pynrrd)
    return nifti.read_image(path)


class _Loaded(NamedTuple):
    """Voxels as they are stored, their affine in mm, and what is doubtful about it."""

    data: np.ndarray
    affine: np.ndarray
    doubts: tuple[str, ...] = ()


def _read(path: Path, load: Callable[[Path], _Loaded]) -> nifti.Read:
    if not path.exists():
        raise ScanError(why_missing(path))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            data, affine, doubts = load(path)
        except ScanError:
            raise
        except Exception as error:  # readers raise a dozen types for what is damaged
            raise ScanError(f"{path} cannot be read: {one_line(error)}") from error
    # Files that a library leaves open are no doubt about a scan.
    found = [str(w.message) for w in said if not issubclass(w.category, ResourceWarning)]
    if (data.dtype.kind in "iu" and data.dtype.itemsize > 2) or data.dtype == np.float64:
        data = data.astype(np.float32)
    image = nib.Nifti1Image(data.astype(data.dtype.newbyteorder("="), copy=False), affine)
    image.header.set_xyzt_units("mm")
    image.file_map["image"].filename = str(path)
    geometry.check_image(path, image)
    return nifti.Read(image, (*found, *doubts))


def _by_nibabel(path: Path) -> _Loaded:
    image = nib.load(path)
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise ScanError(f"{path} holds no volume")
    _check_size(path, image.shape)
    doubts: tuple[str, ...] = ()
    if path.suffix.lower() in PAIRS and not isinstance(image, nib.Nifti1Pair):
        doubts = ("an Analyze header does not say what is left and right: they are a guess",)
    return _Loaded(np.asanyarray(image.dataobj), image.affine, doubts)


def _by_pynrrd(path: Path) -> _Loaded:
    try:
        nrrd = importlib.import_module("nrrd")
    except ImportError as error:
        raise UnreadableError(
            f"{path} is NRRD, which pynrrd reads; install it: {dicom.EXTRA}"
        ) from error
    header = nrrd.read_header(str(path))
    _check_size(path, [int(n) for n in header["sizes"]])
    space = str(header.get("space", "")).lower()
    signs = {**_SIGNS, **{"".join(w[0] for w in n.split("-")): s for n, s in _SIGNS.items()}}
    if space not in signs or "space directions" not in header:
        raise ScanError(f"{path} does not say where its voxels lie (space directions); write it")
    data, header = nrrd.read(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"], float).T
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    return _Loaded(data, np.diag([*signs[space], 1]) @ affine)


def _check_size(path: Path, shape: Sequence[int]) -> None:
    """Before anything of the size that a header declares is read."""
    if math.prod(shape) > nifti.MOST_VOXELS:
        raise ScanError(
            f"{path} declares {math.prod(shape)} voxels; {nifti.MOST_VOXELS} are the most; "
            "resample it"
        )
