"""DICOM as the NIfTI images that dcm2niix makes of it: a folder of one series, or an archive."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import nibabel as nib

from qc_jax.data import nifti
from qc_jax.errors import ScanError, UnreadableError, one_line, some_of
from qc_jax.missing import why_missing

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""What the names of archives end in, in small or capital letters."""
EXTRA = "python -m pip install 'qc_jax[formats]'"
_ENDINGS = (".dcm", ".ima")
_SCOUT = 3
"""Slices up to which an image is none to score."""
_MOST_BYTES = 2**32
"""Of what is unpacked: no series of a single scan has more."""
_SLOPE = re.compile(rb"\x28\x00\x53\x10(?:DS(..)|(..)\x00\x00)", re.DOTALL)
"""RescaleSlope (0028,1053) in little-endian files, its length explicit or implicit."""


def is_dicom(path: Path) -> bool:
    """By its name, or by its bytes where that has no ending or a number: files are named after
    their identifiers."""
    ending = path.suffix.lower()
    if path.name.startswith("."):
        return False
    return ending in _ENDINGS or ((not ending or ending[1:].isdigit()) and _has_preamble(path))


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


def read_archive(path: Path) -> nifti.Read:
    """The scan in an archive of DICOM files, whatever folders they lie in; see `read_folder`.

    Raises:
      ScanError: it cannot be unpacked as well.
    """
    if not path.exists():
        raise ScanError(why_missing(path))
    with tempfile.TemporaryDirectory(prefix="qc_jax-") as place:
        try:
            _unpack(path, Path(place))
        except ScanError:
            raise
        except Exception as error:  # the readers of archives raise a dozen types
            raise ScanError(f"{path} cannot be unpacked: {one_line(error)}") from error
        return read_folder(Path(place), path)


def read_folder(folder: Path, called: Path | None = None) -> nifti.Read:
    """The scan in a folder of DICOM files, not in those below it.

    Args:
      folder: with the files.
      called: what was named, where that is not the folder.

    Raises:
      ScanError: it holds none, or several; dcm2niix is not installed, or would get it wrong.
    """
    called = called or folder
    program = converter()
    if program is None:
        raise UnreadableError(
            f"{called} is {_kind(called)}, which dcm2niix makes a scan of if it holds DICOM; "
            f"install it: {EXTRA}"
        )
    with tempfile.TemporaryDirectory(prefix="qc_jax-") as place:
        options = ["-b", "n", "-z", "n", "-d", "0", "-f", "%s_%d"]
        command = [program, *options, "-o", place, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        made = _shapes(Path(place))
        volumes = [path for path, shape in made.items() if len(shape) == 3 and min(shape) > _SCOUT]
        if len(volumes) != 1:
            raise ScanError(f"{_what_instead(called, made, done)}; {_convert(called)}")
        found, doubts = nifti.read_image(volumes[0])
    if found.get_data_dtype().kind in "iu":
        _refuse_slopes(folder, called)
    found.file_map["image"].filename = str(called)
    return nifti.Read(found, doubts)


def slopes_of(path: Path) -> set[float]:
    """All slopes of intensity in a DICOM file: one for each frame, or one for the file."""
    content, found = path.read_bytes(), set()
    for match in _SLOPE.finditer(content):
        length = int.from_bytes(match[1] or match[2], "little")
        text = content[match.end() : match.end() + length].strip(b" \0")
        if re.fullmatch(rb"[-+0-9.eE]{1,16}", text):
            found.add(float(text))
    return found


def _refuse_slopes(folder: Path, called: Path) -> None:
    """Of what has become integers: NIfTI has one slope for all slices, so that dcm2niix makes real
    numbers of frames with slopes of their own, but takes one of them for all of Siemens, GE, UIH,
    Canon's older and Hitachi's files (v1.0.20260724, `findings/dcm2niix-frame-slopes.sh`)."""
    for path in sorted(folder.iterdir()):
        slopes = slopes_of(path) if path.is_file() else set()
        if len(slopes) > 1:
            raise ScanError(
                f"{called} holds frames with slopes of their own, from {min(slopes):g} to "
                f"{max(slopes):g}, of which dcm2niix has taken one for all: intensities would jump "
                "from slice to slice; make single frames of them, with emf2sf of dcm4che say, and "
                "score those"
            )


def _shapes(place: Path) -> dict[Path, tuple[int, ...]]:
    """Of the images that dcm2niix has made."""
    return {path: nib.Nifti1Image.from_filename(path).shape for path in sorted(place.glob("*.nii"))}


def _what_instead(
    called: Path, made: dict[Path, tuple[int, ...]], done: subprocess.CompletedProcess[str]
) -> str:
    """What there is where a single volume is wanted."""
    if not made:
        said = one_line(ValueError((done.stderr or done.stdout)[-200:]))
        return f"{called} is {_kind(called)} that holds no image (dcm2niix says: {said})"
    images = [f"{path.stem} ({' x '.join(map(str, shape))})" for path, shape in made.items()]
    return f"{called} holds not one volume, but {some_of(images)}"


def _kind(called: Path) -> str:
    return "a folder" if called.is_dir() else "an archive"


def _convert(called: Path) -> str:
    what = called if called.is_dir() else "FOLDER"
    unpack = "" if called.is_dir() else "unpack it, "
    return f"{unpack}convert it with `dcm2niix -z y -o DIR {what}` and score what you want"


# -- Archives ------------------------------------------------------------------------------------


def _unpack(path: Path, place: Path) -> None:
    """Every file of an archive under a number, so that no name leads anywhere else."""
    left = _MOST_BYTES
    for number, file in enumerate(_members(path)):
        with file, (place / f"{number:06d}").open("wb") as target:
            while content := file.read(2**20):
                left -= len(content)
                if left < 0:
                    raise ScanError(
                        f"{path} holds more than {_MOST_BYTES >> 30} GB; unpack it and score what "
                        "you want"
                    )
                target.write(content)


def _members(path: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    yield packed.open(entry)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield file
