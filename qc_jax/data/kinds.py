"""What a file is, by its bytes, where it is no NIfTI, and what makes one of it."""

import string

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "is a zip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it"),
    (b"Rar!", "is a RAR archive; unpack it"),
    (b"\x1f\x8b", "is compressed twice; unpack it once with gunzip"),
    (b"BZh", "is compressed with bzip2; unpack it with bunzip2"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it with unzstd"),
    (b"\x89HDF\r\n\x1a\n", "is HDF5, perhaps MINC 2; convert that with mnc2nii, or nib-convert"),
    (b"CDF\x01", "is NetCDF, perhaps MINC 1; convert that with nib-convert"),
    (b"CDF\x02", "is NetCDF, perhaps MINC 1; convert that with nib-convert"),
    (b"NRRD000", "is NRRD; convert it with 3D Slicer or SimpleITK"),
    (b"ObjectType", "is MetaImage; convert it with SimpleITK"),
    (b"# === DATA DESCRIPTION FILE", "is Philips's PAR; convert the PAR/REC pair with dcm2niix"),
    (b"\x00\x05\x16\x07", "is the companion (._) that macOS writes; take the file beside it"),
    (b"version https://git-lfs", "is a git-lfs pointer; fetch the file with `git lfs pull`"),
    (b"\x93NUMPY", "is a NumPy array; write it as NIfTI with its affine"),
    (b"MATLAB 5.0", "is a MATLAB file; write the image as NIfTI"),
    (b"\x80", "is a pickle, which is not opened; write the image as NIfTI"),
    (b"\x89PNG", "is a PNG picture; the volume itself is needed"),
    (b"\xff\xd8\xff", "is a JPEG picture; the volume itself is needed"),
    (b"%PDF", "is a PDF; the volume itself is needed"),
)
_DICOM_STARTS = (b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x02\x00\x00\x00")
"""First tags of a DICOM file that has no preamble."""
_DICOM = "is DICOM; convert its series with dcm2niix"
_ANNEX = "holds the place of its content in git-annex alone; get it with `datalad get` or " + (
    "`git annex get`"
)
_SHOWN = 40


def foreign(start: bytes, name: str) -> str:
    """What a file is, and what to do, to follow its name; empty where it may be NIfTI.

    Args:
      start: its first 540 bytes or more, decompressed; fewer where it has no more.
      name: of the file, for what to call.
    """
    if not start:
        return "is empty; get it again"
    for signature, what in _STARTS:
        if start.startswith(signature):
            return what
    if start[128:132] == b"DICM" or start.startswith(_DICOM_STARTS):
        return _DICOM
    if start[257:262] == b"ustar":
        return "is a tar archive; unpack it"
    if _is_mgh(start):
        return f"is FreeSurfer's MGZ; convert it with `mri_convert {name} {_stem(name)}.nii.gz`"
    if not start.strip(b"\0"):
        return "holds zeros alone; get it again"
    if _is_analyze(start):
        return "is an Analyze header; convert the pair of .hdr and .img with nib-convert"
    return _text(start)


def _stem(name: str) -> str:
    return name.removesuffix(".gz").partition(".")[0]


def _is_mgh(start: bytes) -> bool:
    """Version 1, four dimensions, a known type of voxels."""
    numbers = [int.from_bytes(start[i : i + 4], "big") for i in range(0, 24, 4)]
    version, *dimensions, kind = numbers
    return version == 1 and min(dimensions) > 0 and max(dimensions) < 2**16 and kind in range(11)


def _is_analyze(start: bytes) -> bool:
    """The size of the header where NIfTI has it, and no magic."""
    return start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and start[344:348] == bytes(4)


def _text(start: bytes) -> str:
    try:
        # A character of UTF-8 may have been cut in two at the end.
        text = start.decode("utf-8-sig", errors="strict" if len(start) < 540 else "ignore")
    except UnicodeDecodeError:
        return ""
    if any(c not in string.printable and not c.isprintable() for c in text):
        return ""
    lower = text.lstrip().lower()
    if "annex/objects" in lower or "annex\\objects" in lower:
        return _ANNEX
    if lower.startswith(("<!doctype html", "<html")):
        return "is a web page, as a failed download leaves it; get it again"
    if lower.startswith("<"):
        return "is XML; a NIfTI volume is needed"
    if lower.startswith(("{", "[")):
        return "is JSON; the image beside it is needed"
    first = " ".join(text.split())
    return f"is plain text ({first[:_SHOWN]!r}{'...' if len(first) > _SHOWN else ''}); get it again"
