"""Reading NIfTI volumes, refusing what is none, and bringing them to a common grid.

A grid is isotropic, in RAS orientation, `(X, Y, Z)` voxels, centred on a point in world
coordinates (mm).

The file is read by this module and only then handed to nibabel, which checks no gzip checksum,
allocates whatever a header asks for and maps files into memory.
"""

import os
import re
import stat
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from qc_jax.errors import ScanError

SUFFIXES = (".nii", ".nii.gz")
MOST_VOXELS = 512**3
_MOST_TRAILING = 16 * 2**20
_CHUNK = 2**16


def is_nifti(path: Path) -> bool:
    """By its name, whatever the case of its ending; a hidden file is none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return re.sub(r"(\.nii)?(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 3-D volume.

    Returns:
      The data in RAS orientation, `(X, Y, Z)` float32, and the affine, `(4, 4)`, in mm.

    Raises:
      ScanError: not readable, damaged, not 3-D, too large, or without a usable affine; data that
        are not finite, but for a background of NaN, which becomes 0.
    """
    image = read_image(path)
    closest = nib.as_closest_canonical(image)
    data = np.asarray(closest.dataobj)
    data = data.reshape(data.shape[:3])
    return finite(path, data), closest.affine


def read_image(path: Path) -> nib.Nifti1Image:
    """The image with its header checked and its bytes complete, data as they are stored.

    Raises:
      ScanError: see `read_volume`; values are not looked at.
    """
    content = _read_bytes(path)
    kind = nib.Nifti1Image if len(content) < 4 or not _is_nifti2(content) else nib.Nifti2Image
    try:
        image = kind.from_bytes(content)
    except Exception as error:  # nibabel raises a dozen types for what is no image
        raise ScanError(f"{path} cannot be read as NIfTI: {error}") from error
    check_geometry(path, image)
    return image


def finite(path: Path, data: np.ndarray) -> np.ndarray:
    """Data as float32, a background of NaN as 0.

    Raises:
      ScanError: not finite within the head.
    """
    with np.errstate(over="ignore"):
        largest = np.max(np.abs(data), where=np.isfinite(data), initial=0.0)
        # Of a scale that float32, or a threshold somewhere, could not bear.
        data = (data / largest if largest > 1e30 or 0 < largest < 1e-3 else data).astype(np.float32)
    bad = ~np.isfinite(data)
    if bad.any():
        faces = [np.moveaxis(bad, axis, 0)[[0, -1]].ravel() for axis in range(3)]
        if np.concatenate(faces).mean() < 0.5 and bad.mean() > 1e-3:
            raise ScanError(f"{path} has {bad.sum()} voxels that are not finite; repair it first")
        data[bad] = 0.0
    return data


def check_scan(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Raises ScanError for a volume that can be no scan of a head: constant, a mask, a label map,
    or of a size that no head has."""
    extent = nib.affines.voxel_sizes(affine) * data.shape
    if extent.max() < 100 or extent.max() > 600:
        raise ScanError(
            f"{path} has a field of view of {' x '.join(f'{e:.0f}' for e in extent)} mm, which is "
            "not that of a head"
        )
    spread = float(data.max()) - float(data.min())
    if spread <= 1e-6 * max(abs(float(data.max())), abs(float(data.min()))):
        raise ScanError(f"{path} is constant ({data.flat[0]:g} everywhere)")
    values = np.unique(data.ravel()[:: max(data.size // 100_000, 1)])
    if len(values) < 64 and np.array_equal(values, np.rint(values)):
        raise ScanError(
            f"{path} holds {len(values)} different whole numbers; is it a mask or a label map "
            "instead of a scan?"
        )


def check_geometry(path: Path, image: nib.spatialimages.SpatialImage) -> None:
    """Raises ScanError unless the image is one volume of real numbers on a usable grid."""
    shape = image.shape
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) > 3:
        raise ScanError(
            f"{path} has shape {shape}, more than one volume; take one out of it, with "
            "nibabel.funcs.four_to_three say"
        )
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(f"{path} has shape {shape}; a 3-D volume is needed")
    if image.get_data_dtype().kind not in "iuf":
        raise ScanError(f"{path} holds {image.get_data_dtype()} voxels; real numbers are needed")
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError(f"{path} has an affine that cannot be inverted: {affine.tolist()}")
    edges = nib.affines.voxel_sizes(affine)
    if edges.min() < 0.1 or edges.max() > 20:
        raise ScanError(f"{path} has voxels of {edges.round(3).tolist()} mm; 0.1 to 20 are usable")
    zooms = np.array(image.header.get_zooms()[:3], float)
    if isinstance(image, nib.Nifti1Pair) and image.header["sform_code"] > 0 and (zooms > 0).all():
        ratio = edges / zooms
        if ratio.max() > 2 or ratio.min() < 0.5:
            raise ScanError(
                f"{path} contradicts itself: its sform has voxels of {edges.round(3).tolist()} mm, "
                f"its pixdim {zooms.round(3).tolist()}"
            )


# -- Bytes -------------------------------------------------------------------------------------


def _read_bytes(path: Path) -> bytes:
    """The whole file, decompressed, no larger than its header says."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ScanError(f"{path} is a folder, not a scan")
        if not stat.S_ISREG(status.st_mode):
            raise ScanError(f"{path} is no regular file")
        with open(path, "rb") as file:
            start = file.read(8)
            file.seek(0)
            if start[:2] == b"\x1f\x8b":
                return _gunzip(path, file)
            _sniff(path, start)
            header = file.read(540)
            needed = _needed_bytes(path, header)
            if status.st_size < needed:
                raise ScanError(
                    f"{path} is cut short: {needed} bytes expected, {status.st_size} found"
                )
            return header + file.read(max(needed - len(header), 0))
    except FileNotFoundError as error:
        target = os.readlink(path) if os.path.islink(path) else ""
        if "annex/objects" in target:
            raise ScanError(
                f"{path} is not on this disk, only its place in git-annex is; get it with "
                "`datalad get` or `git annex get`"
            ) from error
        where = f", its link leads to {target}" if target else ""
        raise ScanError(f"{path} does not exist{where}") from error
    except OSError as error:
        raise ScanError(f"{path} cannot be read: {error.strerror}") from error


def _gunzip(path: Path, file) -> bytes:
    """Every member until the voxels are there; the last is read to its end, where its CRC is."""
    parts, size, needed = [], 0, None
    stream = zlib.decompressobj(31)
    rest = b""
    while True:
        compressed = rest or file.read(_CHUNK)
        rest = b""
        if not compressed:
            break
        try:
            while compressed:
                part = stream.decompress(compressed, _CHUNK * 16)
                parts.append(part)
                size += len(part)
                compressed = stream.unconsumed_tail
                if needed is None and size >= 540:
                    start = b"".join(parts)[:540]
                    _sniff(path, start)
                    needed = _needed_bytes(path, start)
                if size > (needed or MOST_VOXELS) + _MOST_TRAILING:
                    raise ScanError(f"{path} holds far more data than its header says")
        except zlib.error as error:
            raise ScanError(f"{path} is damaged: {error}") from error
        if stream.eof:
            rest = stream.unused_data.lstrip(b"\0")
            if (needed is not None and size >= needed) or (not rest and not file.peek(1)):
                break
            stream = zlib.decompressobj(31)
    content = b"".join(parts)
    if needed is None:
        _sniff(path, content)
        needed = _needed_bytes(path, content)
    if len(content) < needed:
        raise ScanError(f"{path} is cut short: {needed} bytes expected, {len(content)} found")
    if not stream.eof:
        raise ScanError(f"{path} is cut short: its gzip stream has no end")
    return content[:needed]


_KINDS = {
    b"": "is empty",
    b"PK\x03\x04": "is a zip archive",
    b"\x80": "is a pickle",
    b"version ": "is a git-lfs pointer; fetch the file first",
    b"<": "is a text or web page",
    b"\x1f\x8b": "is compressed twice",
}


def _sniff(path: Path, start: bytes) -> None:
    for signature, what in _KINDS.items():
        if (signature and start.startswith(signature)) or (not signature and not start):
            raise ScanError(f"{path} {what}, no NIfTI")


def _is_nifti2(content: bytes) -> bool:
    return 540 in struct.unpack("<i", content[:4]) + struct.unpack(">i", content[:4])


def _needed_bytes(path: Path, header: bytes) -> int:
    """Bytes of the whole file, by its header, checked before anything of that size is read."""
    if len(header) < 348:
        raise ScanError(f"{path} is cut short: {len(header)} bytes hold no NIfTI header")
    kind = nib.Nifti2Header if _is_nifti2(header) else nib.Nifti1Header
    try:
        parsed = kind(header[: kind.sizeof_hdr], check=False)
    except Exception as error:  # the byte order cannot be told from dim[0]
        raise ScanError(f"{path} is no NIfTI: {error}") from error
    magic = bytes(parsed["magic"].item())[:3]
    if int(parsed["sizeof_hdr"]) != kind.sizeof_hdr or magic[:1] != b"n" or magic[2:3] not in b"12":
        raise ScanError(
            f"{path} is no NIfTI: sizeof_hdr {int(parsed['sizeof_hdr'])}, magic {magic!r}"
        )
    if magic[1:2] != b"+":
        raise ScanError(f"{path} is one half of a pair (.hdr and .img); convert it to .nii")
    number = int(parsed["dim"][0])
    dim = [int(n) for n in parsed["dim"][1 : max(min(number, 7), 0) + 1]]
    if not 1 <= number <= 7 or min(dim) < 1:
        raise ScanError(f"{path} has dim {parsed['dim'].tolist()} in its header")
    voxels = int(np.prod(np.array(dim, object)))
    if voxels > MOST_VOXELS:
        raise ScanError(f"{path} declares {voxels} voxels; {MOST_VOXELS} are the most")
    try:
        itemsize = parsed.get_data_dtype().itemsize
    except Exception as error:  # nibabel names the unknown code
        raise ScanError(f"{path} has an unknown datatype: {error}") from error
    offset = float(parsed["vox_offset"])
    if not kind.sizeof_hdr + 4 <= offset <= 2**20:
        raise ScanError(f"{path} has vox_offset {offset:g} in its header")
    slope, intercept = float(parsed["scl_slope"]), float(parsed["scl_inter"])
    scaled = slope != 0 and not np.isnan(slope)
    if scaled and not (np.isfinite(slope) and np.isfinite(intercept)):
        raise ScanError(f"{path} has scl_slope {slope:g} and scl_inter {intercept:g} in its header")
    return int(offset) + voxels * itemsize


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    voxel_size: float,
    field_of_view: Sequence[int],
    centre: np.ndarray,
) -> np.ndarray:
    """Brings a volume to a grid: averages over the new voxel and interpolates.

    Args:
      data: `(X, Y, Z)`.
      affine: of the data, `(4, 4)`, axes within 45 degrees of RAS.
      voxel_size: of the grid, in mm.
      field_of_view: voxels of the grid.
      centre: of the grid, in world coordinates (mm).

    Returns:
      float32 of shape `field_of_view`; 0 outside the data.
    """
    to_data, sizes = _grid_in_data(affine, voxel_size, field_of_view, centre)
    data = ndimage.uniform_filter(data, sizes)
    return ndimage.affine_transform(
        data, to_data[:3, :3], to_data[:3, 3], tuple(field_of_view), np.float32, order=1
    )


def centre_on_voxels(
    affine: np.ndarray, voxel_size: float, field_of_view: Sequence[int], centre: np.ndarray
) -> np.ndarray:
    """Moves a grid by at most half a voxel of the data, so that its first voxel needs no
    interpolation, nor does any other where its voxels are whole multiples of those of the data.

    A grid between the voxels would blur one scan, and take its noise away, and another not.

    Args:
      affine: of the data, `(4, 4)`, axes within 45 degrees of RAS.
      voxel_size: of the grid, in mm.
      field_of_view: voxels of the grid.
      centre: of the grid, in world coordinates (mm).

    Returns:
      The new centre.
    """
    first = _grid_in_data(affine, voxel_size, field_of_view, centre)[0][:3, 3]
    # Rounded so that rounding errors decide nothing where the grid lies half-way.
    return centre + affine[:3, :3] @ (np.floor(first + 0.499) - first)


def _grid_in_data(affine, voxel_size, field_of_view, centre) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a grid to voxels of the averaged data, `(4, 4)`, and over how many it is averaged
    along each axis."""
    grid_affine = np.diag([voxel_size] * 3 + [1.0])
    grid_affine[:3, 3] = centre - voxel_size * (np.asarray(field_of_view) - 1) / 2
    to_data = np.linalg.inv(affine) @ grid_affine
    steps = np.abs(to_data[:3, :3]).max(axis=1)
    sizes = np.maximum(np.rint(steps).astype(int), 1)
    # A window of an even size lies half a voxel before its centre.
    to_data[:3, 3] += 0.5 * (sizes % 2 == 0)
    return to_data, sizes


def centre_of_box(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World coordinates (mm) of the middle of a mask's bounding box."""
    corners = np.argwhere(mask)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return affine[:3, :3] @ middle + affine[:3, 3]
