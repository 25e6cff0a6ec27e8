"""Scans of other formats than NIfTI, as the NIfTI images that they would be.

FreeSurfer's MGH and MGZ, MINC and pairs of header and voxels (Analyze, NIfTI) through nibabel, NRRD
through pynrrd, a folder of DICOM files through dcm2niix; the last two where they are installed.
"""

import importlib
import math
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from qc_jax.data import geometry, nifti
from qc_jax.errors import ScanError, one_line
from qc_jax.missing import why_missing

PAIRS = (".img", ".hdr")
_BY_NIBABEL = (".mgz", ".mgh", ".mgh.gz", ".mnc", ".mnc.gz", *PAIRS)
_BY_PYNRRD = (".nrrd", ".nhdr")
SUFFIXES = (*nifti.SUFFIXES, *_BY_NIBABEL, *_BY_PYNRRD)
"""What the names of scans end in, in small or capital letters."""
_DICOM = (".dcm", ".ima")
_EXTRA = "python -m pip install 'qc_jax[formats]'"
_SIGNS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
"""Of the axes of the world of an NRRD file; short names are their initials."""


def is_scan(path: Path) -> bool:
    """By its name; a hidden file is none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def is_dicom(path: Path) -> bool:
    """By its name, or by its bytes where that has no ending or a number: files are named after
    their identifiers."""
    ending = path.suffix.lower()
    if path.name.startswith("."):
        return False
    return ending in _DICOM or ((not ending or ending[1:].isdigit()) and _has_preamble(path))


def read_scan(path: Path) -> nifti.Read:
    """A scan of any known format, with its header checked; see `nifti.read_image`.

    Raises:
      ScanError: it cannot be read, is no single volume, or what reads it is not installed.
    """
    name = path.name.lower()
    if path.is_dir():
        return _read_dicom(path)
    if name.endswith(_BY_NIBABEL):
        return _read(path, _by_nibabel)
    if name.endswith(_BY_PYNRRD):
        return _read(path, _by_pynrrd)
    return nifti.read_image(path)


def _read(path: Path, load: Callable[[Path], tuple[np.ndarray, np.ndarray]]) -> nifti.Read:
    if not path.exists():
        raise ScanError(why_missing(path))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            data, affine = load(path)
        except ScanError:
            raise
        except Exception as error:  # readers raise a dozen types for what is damaged
            raise ScanError(f"{path} cannot be read: {one_line(error)}") from error
    # Files that a library leaves open are no doubt about a scan.
    found = [str(w.message) for w in said if not issubclass(w.category, ResourceWarning)]
    if path.suffix.lower() in PAIRS and not _says_where(path):
        found.append("an Analyze header does not say what is left and right: they are a guess")
    if (data.dtype.kind in "iu" and data.dtype.itemsize > 2) or data.dtype == np.float64:
        data = data.astype(np.float32)
    image = nib.Nifti1Image(data.astype(data.dtype.newbyteorder("="), copy=False), affine)
    image.header.set_xyzt_units("mm")
    image.file_map["image"].filename = str(path)
    geometry.check_image(path, image)
    return nifti.Read(image, tuple(found))


def _by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise ScanError(f"{path} holds no volume")
    _check_size(path, image.shape)
    return np.asanyarray(image.dataobj), image.affine


def _says_where(path: Path) -> bool:
    return isinstance(nib.load(path), nib.Nifti1Pair)


def _by_pynrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        nrrd = importlib.import_module("nrrd")
    except ImportError as error:
        raise ScanError(f"{path} is NRRD, which pynrrd reads; install it: {_EXTRA}") from error
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
    return data, np.diag([*signs[space], 1]) @ affine


def _check_size(path: Path, shape: Sequence[int]) -> None:
    """Before anything of the size that a header declares is read."""
    if math.prod(shape) > nifti.MOST_VOXELS:
        raise ScanError(
            f"{path} declares {math.prod(shape)} voxels; {nifti.MOST_VOXELS} are the most; "
            "resample it"
        )


# -- DICOM ---------------------------------------------------------------------------------------


def _has_preamble(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def converter() -> str | None:
    """Path of dcm2niix, on the search path or beside this Python."""
    beside = Path(sys.executable).with_name("dcm2niix")
    return shutil.which("dcm2niix") or (str(beside) if beside.is_file() else None)


def _read_dicom(folder: Path) -> nifti.Read:
    program = converter()
    if program is None:
        raise ScanError(
            f"{folder} is a folder, which dcm2niix makes a scan of if it holds DICOM; install it: "
            f"{_EXTRA}"
        )
    with tempfile.TemporaryDirectory(prefix="qc_jax-") as place:
        command = [program, "-b", "n", "-z", "n", "-f", "%s_%d", "-o", place, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        volumes = list(_volumes(Path(place)))
        if len(volumes) != 1:
            what = "no volume" if not volumes else f"{len(volumes)} volumes"
            said = " ".join((done.stderr or done.stdout).split())[-200:]
            raise ScanError(
                f"{folder} holds {what} (dcm2niix says: {said}); convert it with "
                f"`dcm2niix -z y -o DIR {folder}` and score what you want"
            )
        found, doubts = nifti.read_image(volumes[0])
    found.file_map["image"].filename = str(folder)
    return nifti.Read(found, doubts)


def _volumes(place: Path) -> Iterator[Path]:
    """Images of three axes, scouts of few slices left out."""
    for path in sorted(place.glob("*.nii")):
        shape = nib.Nifti1Image.from_filename(path).shape
        if len(shape) == 3 and min(shape) > 3:
            yield path
