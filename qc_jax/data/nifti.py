"""Reading NIfTI volumes, and refusing what is none.

The file is read by this module and only then handed to nibabel, which checks no gzip checksum,
allocates whatever a header asks for and maps files into memory.
"""

import math
import os
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import nibabel as nib
import numpy as np

from qc_jax.data import geometry, kinds, values
from qc_jax.data.grid import centre_of_box, resample
from qc_jax.data.values import check_scan
from qc_jax.errors import ScanError, UnreadableError
from qc_jax.missing import why_missing

__all__ = [
    "MOST_VOXELS",
    "SUFFIXES",
    "Read",
    "centre_of_box",
    "check_scan",
    "is_nifti",
    "read_image",
    "read_volume",
    "resample",
    "stem",
]

SUFFIXES = (".nii", ".nii.gz")
MOST_VOXELS = 512**3
_MOST_TRAILING = 16 * 2**20
_LARGE_EXTENSION, _MOST_EXTENSION = 2**20, 2**26
"""Bytes of a header with its extensions, all of a DICOM header say: worth a word; too many."""
_CHUNK = 2**16

_CONVERT_PAIR = "convert both to one file, with `nib-convert NAME.hdr NAME.nii.gz` say"


def is_nifti(path: Path) -> bool:
    """By its name, in small or capital letters; a hidden file is none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`, in small or capital letters."""
    return re.sub(r"(\.nii)?(\.gz)?$", "", path.name, count=1, flags=re.IGNORECASE)


class Read(NamedTuple):
    """A file that was read.

    Attributes:
      image: its header as `geometry.settle` leaves it, data as they are stored; it knows the file.
      warnings: what was doubtful about the file and its header.
    """

    image: nib.Nifti1Image
    warnings: tuple[str, ...] = ()


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 3-D volume.

    Returns:
      The data in RAS orientation, `(X, Y, Z)` float32, and the affine, `(4, 4)`, in mm.

    Raises:
      ScanError: not readable, damaged, not 3-D, too large, or without a usable affine; data that
        are not finite, but for a background of NaN, which becomes 0.
    """
    data, affine = geometry.in_ras(read_image(path).image)
    return values.finite(path, data)[0], affine


def read_image(path: Path) -> Read:
    """The image with its header checked and its bytes complete.

    Raises:
      ScanError: see `read_volume`; values are not looked at.
    """
    content, found = _read_bytes(path)
    stored = _header(path, content)
    if stored["vox_offset"] > _LARGE_EXTENSION:
        found.append(f"a header of {stored['vox_offset'] / 2**20:.1f} MB, extensions included")
    settled, doubts = geometry.settle(path, stored)
    content[: stored.sizeof_hdr] = settled.binaryblock
    kind = nib.Nifti1Image if stored.sizeof_hdr == 348 else nib.Nifti2Image
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            image = kind.from_bytes(bytes(content))
    except Exception as error:  # nibabel raises a dozen types for what is no image
        raise ScanError(f"{path} cannot be read as NIfTI: {error}") from error
    for name in ("sform_code", "qform_code"):
        # Of an unknown code nibabel would make none, and a map would lie elsewhere than its scan.
        if settled[name] > 0:
            image.header[name] = stored[name]
    image.file_map["image"].filename = str(path)
    geometry.check_image(path, image)
    return Read(image, (*found, *doubts, *(str(warning.message) for warning in said)))


# -- Bytes -------------------------------------------------------------------------------------


def _read_bytes(path: Path) -> tuple[bytearray, list[str]]:
    """The file, decompressed, up to its last voxel, and what is odd about it."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ScanError(
                f"{path} is a folder, not a scan; of a folder of DICOM files dcm2niix makes one"
            )
        if not stat.S_ISREG(status.st_mode):
            raise ScanError(f"{path} is no regular file; name the scan itself")
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content, more = _gunzip(path, file) if packed else _plain(path, file, status.st_size)
    except FileNotFoundError as error:
        raise ScanError(why_missing(path)) from error
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    found = []
    if packed != path.name.lower().endswith(".gz"):
        found.append(f"the file is {'' if packed else 'not '}compressed, unlike its name")
    if more:
        found.append(f"the file goes on after its last voxel, with {more}")
    return content, found


def _plain(path: Path, file: BinaryIO, size: int) -> tuple[bytearray, str]:
    """Content up to the last voxel, and what follows it."""
    header = file.read(540)
    _refuse_foreign(path, header)
    needed = _size(_header(path, header))
    if size < needed:
        raise ScanError(f"{path} is cut short: {needed} bytes expected, {size} found; get it again")
    content = bytearray(header + file.read(max(needed - len(header), 0)))
    return content[:needed], f"{size - needed} bytes" if size > needed else ""


def _gunzip(path: Path, file: BinaryIO) -> tuple[bytearray, str]:
    """Every member until the voxels are there; the last is read to its end, where its CRC is."""
    content, needed = bytearray(), None
    stream = zlib.decompressobj(31)
    rest = b""
    while compressed := rest or file.read(_CHUNK):
        rest = b""
        try:
            while compressed:
                content += stream.decompress(compressed, _CHUNK * 16)
                compressed = stream.unconsumed_tail
                if needed is None and len(content) >= 540:
                    _refuse_foreign(path, content[:540])
                    needed = _size(_header(path, content[:540]))
                if len(content) > (needed or MOST_VOXELS) + _MOST_TRAILING:
                    raise ScanError(f"{path} holds far more data than its header says")
        except zlib.error as error:
            raise ScanError(f"{path} is damaged: {error}; get it again") from error
        if stream.eof:
            # Zeros pad the end of a file.
            rest = stream.unused_data.lstrip(b"\0")
            if needed is not None and len(content) >= needed:
                break
            if rest or (rest := file.read(_CHUNK)):
                stream = zlib.decompressobj(31)
    if needed is None:
        _refuse_foreign(path, bytes(content))
        needed = _size(_header(path, content))
    if len(content) < needed:
        raise ScanError(
            f"{path} is cut short: {needed} bytes expected, {len(content)} found; get it again"
        )
    if not stream.eof:
        raise ScanError(f"{path} is cut short: its gzip stream has no end; get it again")
    more = len(content) - needed
    del content[needed:]
    if more:
        return content, f"{more} bytes"
    return content, "what is not compressed" if rest or file.read(_CHUNK).strip(b"\0") else ""


def _refuse_foreign(path: Path, start: bytes | bytearray) -> None:
    what = _half_of_a_pair(path) or kinds.foreign(bytes(start), path.name)
    if what:
        raise ScanError(f"{path} {what} (it is no NIfTI)")


def _half_of_a_pair(path: Path) -> str:
    """What to say of the bare voxels of a pair, which no byte tells from anything else."""
    suffix = path.suffix.lower()
    if suffix in (".img", ".rec") and any(
        path.with_suffix(other).exists() for other in (".hdr", ".HDR", ".par", ".PAR")
    ):
        return f"is one half of a pair; {_CONVERT_PAIR}"
    return ""


def _header(path: Path, start: bytes | bytearray) -> nib.Nifti1Header:
    """The header as it is stored, checked before anything of the size that it declares is read."""
    if len(start) < 348:
        raise ScanError(f"{path} is cut short: {len(start)} bytes hold no NIfTI header")
    sizes = struct.unpack("<i", start[:4]) + struct.unpack(">i", start[:4])
    kind = nib.Nifti2Header if 540 in sizes else nib.Nifti1Header
    if len(start) < kind.sizeof_hdr:
        raise ScanError(f"{path} is cut short: {len(start)} bytes hold no NIfTI-2 header")
    try:
        header = kind(bytes(start[: kind.sizeof_hdr]), check=False)
    except Exception as error:  # the byte order cannot be told from dim[0]
        raise ScanError(f"{path} is no NIfTI: {error}") from error
    magic = bytes(header["magic"].item())[:3]
    if int(header["sizeof_hdr"]) != kind.sizeof_hdr or magic[:1] != b"n" or magic[2:3] not in b"12":
        raise ScanError(
            f"{path} is no NIfTI: sizeof_hdr {int(header['sizeof_hdr'])}, magic {magic!r}; "
            "convert it to NIfTI"
        )
    if magic[1:2] != b"+":
        raise ScanError(f"{path} is one half of a pair (.hdr and .img); {_CONVERT_PAIR}")
    number = int(header["dim"][0])
    dim = [int(n) for n in header["dim"][1 : max(min(number, 7), 0) + 1]]
    if not 1 <= number <= 7 or min(dim) < 1:
        raise ScanError(f"{path} has dim {header['dim'].tolist()} in its header; convert it again")
    if _voxels(header) > MOST_VOXELS:
        raise ScanError(
            f"{path} declares {_voxels(header)} voxels; {MOST_VOXELS} are the most; resample it"
        )
    try:
        header.get_data_dtype()
    except Exception as error:  # nibabel names the unknown code
        raise ScanError(
            f"{path} has an unknown datatype: {error}; convert it to int16 or float32"
        ) from error
    offset = float(header["vox_offset"])
    if not kind.sizeof_hdr + 4 <= offset <= _MOST_EXTENSION:
        raise ScanError(f"{path} has vox_offset {offset:g} in its header; convert it again")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    scaled = slope != 0 and not np.isnan(slope)
    if scaled and not (np.isfinite(slope) and np.isfinite(intercept)):
        raise ScanError(
            f"{path} has scl_slope {slope:g} and scl_inter {intercept:g} in its header; correct "
            "them"
        )
    return header


def _voxels(header: nib.Nifti1Header) -> int:
    number = int(header["dim"][0])
    return math.prod(int(n) for n in header["dim"][1 : number + 1])


def _size(header: nib.Nifti1Header) -> int:
    """Bytes up to the last voxel."""
    return int(header["vox_offset"]) + _voxels(header) * header.get_data_dtype().itemsize
