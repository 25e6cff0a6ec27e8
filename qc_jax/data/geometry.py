"""Where the voxels of an image lie: the forms of a NIfTI header, their unit, and what of it is
doubtful.

The form in use is the sform where its code is above 0, else the qform where its code is, else a
guess from the voxel size alone, as NIfTI has it.  What is not in use may hold anything.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.quaternions import quat2mat

from qc_jax.errors import ScanError

_FORMS = ("sform", "qform")
"""In the order in which they are used."""
_FIELDS = {
    "sform": ("srow_x", "srow_y", "srow_z"),
    "qform": (*(f"quatern_{a}" for a in "bcd"), *(f"qoffset_{a}" for a in "xyz")),
}
_KNOWN_CODES = range(6)
_UNITS = {1: ("metres", 1e3), 2: ("millimetres", 1.0), 3: ("micrometres", 1e-3)}
"""By the code in `xyzt_units`: name, and mm of one."""
_MILLIMETRES = 2
_VOXELS = (0.1, 20.0)
_EXTENT = (100.0, 600.0)
"""mm that the longest side of a head's field of view may have."""
_ROUNDING, _NO_ROTATION = 1e-4, 1e-2
"""By how much a quaternion is longer than 1 through rounding alone; from where on it is none."""
_SHEAR = 0.01
"""Cosine of the angle between two axes of the voxels from which on it is worth a word."""


# -- The header as it was stored -----------------------------------------------------------------


def settle(path: Path, header: nib.Nifti1Header) -> tuple[nib.Nifti1Header, tuple[str, ...]]:
    """A header in which every reader finds the form that is in use.

    nibabel raises where a quaternion is off by rounding, or is rubbish that is not in use; it takes
    a form of an unknown code for none, and a voxel size of 0 for 1.

    Args:
      path: named where the scan is refused.
      header: as it was stored, not mended by nibabel.

    Returns:
      A header without a form that is none, with codes that are known, and with the voxel size of
      the form in use where its own is none; and what was doubtful.

    Raises:
      ScanError: no form can be used, or the sform contradicts the voxel size.
    """
    code = {name: int(header[f"{name}_code"]) for name in _FORMS}
    forms = {"sform": _sform(header), "qform": _qform(header)}
    claimed = [name for name in _FORMS if code[name] > 0]
    good = [name for name in claimed if forms[name] is not None]
    warnings = [
        f"{name}_code {code[name]} is unknown; "
        f"the {name} is {'used' if [name] == good[:1] else 'not used'}"
        for name in _FORMS
        if code[name] not in _KNOWN_CODES
    ]
    bad = {name: _why(header, name) for name in claimed if name not in good}
    if claimed and not good:
        raise ScanError(f"{path} has {' and '.join(bad.values())}; write one that can be used")
    warnings += [f"{why}; its {good[0]} is used" for why in bad.values()]
    settled = header.copy()
    settled["pixdim"][0] = _handedness(header)
    settled["pixdim"][1:4] = _zooms(path, header, forms[good[0]] if good else None)
    if not (_stored_zooms(header) > 0).all():
        warnings.append(f"pixdim {_shown(header['pixdim'][1:4])}; its sform has the voxel size")
    if "qform" in good and _length(header) > 1 + _ROUNDING:
        warnings.append(f"its qform has a quaternion of length {_length(header):.4f}, taken as 1")
    for name in _FORMS:
        if code[name] not in _KNOWN_CODES:
            settled[f"{name}_code"] = int(code[name] > 0)
        if forms[name] is None:
            settled[f"{name}_code"] = 0
            for field in _FIELDS[name]:
                settled[field] = 0
    if forms["qform"] is not None:
        for field in _FIELDS["qform"][:3]:
            settled[field] = header[field] / max(_length(header), 1.0)
    return settled, tuple(warnings)


def _sform(header: nib.Nifti1Header) -> np.ndarray | None:
    affine = np.vstack([np.array([header[f] for f in _FIELDS["sform"]], float), [0, 0, 0, 1]])
    return affine if _invertible(affine) else None


def _qform(header: nib.Nifti1Header) -> np.ndarray | None:
    b, c, d, *offset = (float(header[field]) for field in _FIELDS["qform"])
    if not _length(header) < 1 + _NO_ROTATION:  # nor is NaN
        return None
    length = max(_length(header), 1.0)
    rest = max(1 - _length(header) ** 2, 0.0) ** 0.5
    affine = np.eye(4)
    zooms = _stored_zooms(header) * [1, 1, _handedness(header)]
    affine[:3, :3] = quat2mat([rest, b / length, c / length, d / length]) * zooms
    affine[:3, 3] = offset
    return affine if _invertible(affine) else None


def _length(header: nib.Nifti1Header) -> float:
    """Of a quaternion's part that is stored."""
    return float(np.linalg.norm([float(header[field]) for field in _FIELDS["qform"][:3]]))


def _handedness(header: nib.Nifti1Header) -> int:
    return -1 if header["pixdim"][0] < 0 else 1


def _stored_zooms(header: nib.Nifti1Header) -> np.ndarray:
    """Voxel size, 0 where it is none."""
    return np.nan_to_num(np.abs(np.asarray(header["pixdim"][1:4], float)), posinf=0.0)


def _zooms(path: Path, header: nib.Nifti1Header, form: np.ndarray | None) -> np.ndarray:
    """Voxel size, of the form in use where the header has none."""
    zooms = _stored_zooms(header)
    if form is None:
        if not (zooms > 0).all():
            shown = _shown(header["pixdim"][1:4])
            raise ScanError(f"{path} has neither sform nor qform, and pixdim {shown}; write one")
        return zooms
    edges = nib.affines.voxel_sizes(form)
    if not (zooms > 0).all():
        return edges
    if (edges / zooms).max() > 2 or (edges / zooms).min() < 0.5:
        raise ScanError(
            f"{path} contradicts itself: its sform has voxels of {_shown(edges)}, its pixdim says "
            f"{_shown(zooms)}; correct the wrong one"
        )
    return zooms


def _why(header: nib.Nifti1Header, name: str) -> str:
    """What is wrong with a form that cannot be used."""
    if name == "sform":
        rows = [_shown(header[field]) for field in _FIELDS["sform"]]
        return f"an sform that cannot be inverted ({', '.join(rows)})"
    quaternion, offset = np.split(np.array([header[f] for f in _FIELDS["qform"]], float), 2)
    return (
        f"a qform that cannot be used (quaternion {_shown(quaternion)}, offset {_shown(offset)}, "
        f"pixdim {_shown(header['pixdim'][1:4])})"
    )


def _shown(numbers: Sequence[float] | np.ndarray) -> str:
    return "[" + " ".join(f"{float(number):.4g}" for number in numbers) + "]"


def _invertible(affine: np.ndarray) -> bool:
    """Whatever its unit."""
    if not np.isfinite(affine).all():
        return False
    edges = nib.affines.voxel_sizes(affine)
    return edges.min() > 0 and abs(np.linalg.det(affine[:3, :3] / edges)) > 1e-3


# -- The image -----------------------------------------------------------------------------------


def check_image(path: Path | str, image: nib.spatialimages.SpatialImage) -> None:
    """Raises ScanError unless the image is one volume of real numbers on a usable grid."""
    shape = image.shape
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) > 3:
        raise ScanError(
            f"{path} has shape {shape}, more than one volume; write the one to score to a file of "
            "its own, the first with nibabel.load(FILE).slicer[..., 0].to_filename(OTHER)"
        )
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(f"{path} has shape {shape}; a 3-D volume is needed")
    if image.get_data_dtype().kind not in "iuf":
        raise ScanError(
            f"{path} holds {image.get_data_dtype()} voxels; real numbers are needed, of a complex "
            "image its magnitude"
        )
    if image.affine is None or not _invertible(image.affine):
        raise ScanError(f"{path} has an affine that cannot be inverted: {image.affine}")
    edges = nib.affines.voxel_sizes(affine_in_mm(image))
    if edges.min() < _VOXELS[0] or edges.max() > _VOXELS[1]:
        raise ScanError(
            f"{path} has voxels of {_shown(edges)} mm, where {_VOXELS[0]:g} to {_VOXELS[1]:g} are "
            "usable; if its affine is not in mm, xyzt_units has to say so"
        )


def check_extent(path: Path | str, shape: Sequence[int], affine: np.ndarray) -> None:
    """Raises ScanError for a field of view that no head has; `affine` in mm."""
    extent = nib.affines.voxel_sizes(affine) * shape
    if not _EXTENT[0] <= extent.max() <= _EXTENT[1]:
        raise ScanError(
            f"{path} has a field of view of {' x '.join(f'{e:.0f}' for e in extent)} mm, which is "
            "not that of a head"
        )


def affine_in_mm(image: nib.spatialimages.SpatialImage) -> np.ndarray:
    """`(4, 4)`, voxels to mm, whatever the unit of the image's affine."""
    return np.diag([_unit(image)[1]] * 3 + [1.0]) @ image.affine


def in_ras(image: nib.spatialimages.SpatialImage) -> tuple[np.ndarray, np.ndarray]:
    """Data `(X, Y, Z)` as they are stored, axes within 45 degrees of RAS, and their affine in
    mm."""
    data, affine = np.asarray(image.dataobj).reshape(image.shape[:3]), affine_in_mm(image)
    turns = nib.io_orientation(affine)
    return (
        nib.apply_orientation(data, turns),
        affine @ nib.orientations.inv_ornt_aff(turns, data.shape),
    )


def keep_place(image: nib.spatialimages.SpatialImage, header: nib.Nifti1Header) -> None:
    """Gives a map's header the forms of its scan, their codes, those that nibabel does not know as
    well, and the unit of their affine."""
    source = image.header
    if not isinstance(source, nib.Nifti1Header):
        header["xyzt_units"] = _MILLIMETRES
        return
    for name in _FORMS:
        for field in (f"{name}_code", *_FIELDS[name]):
            header[field] = source[field]
    header["pixdim"][:4] = source["pixdim"][:4]
    code, factor = _unit(image)
    known = code in _UNITS and factor == _UNITS[code][1]
    header["xyzt_units"] = code if known else _MILLIMETRES  # what it is read as


def _unit(image: nib.spatialimages.SpatialImage) -> tuple[int, float]:
    """The code that is stored, and mm of one unit.

    A header that says metres beside an affine in mm, as some tools write it, is not believed: the
    unit is the one that makes it a head.
    """
    if not isinstance(image.header, nib.Nifti1Header):
        return _MILLIMETRES, 1.0
    code = int(image.header["xyzt_units"]) % 8
    factor = _UNITS[code][1] if code in _UNITS else 1.0
    if _may_hold_a_head(image, 1.0) and not _may_hold_a_head(image, factor):
        factor = 1.0
    return code, factor


def _may_hold_a_head(image: nib.spatialimages.SpatialImage, factor: float) -> bool:
    edges = factor * nib.affines.voxel_sizes(image.affine)
    longest = (edges * image.shape[:3]).max()
    return (
        _VOXELS[0] <= edges.min()
        and edges.max() <= _VOXELS[1]
        and _EXTENT[0] <= longest <= _EXTENT[1]
    )


def doubts(image: nib.spatialimages.SpatialImage) -> tuple[str, ...]:
    """What is doubtful about where the voxels of an image lie; empty for a plain one."""
    found = []
    axes = image.affine[:3, :3] / nib.affines.voxel_sizes(image.affine)
    cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if cosine > _SHEAR:
        angle = np.rad2deg(np.arccos(min(cosine, 1.0)))
        found.append(f"its affine is sheared: two axes of its voxels meet at {angle:.1f} degrees")
    if len(image.shape) > 3:
        found.append(f"shape {image.shape}: its only volume is scored")
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return tuple(found)
    code, factor = _unit(image)
    if code in _UNITS and code != _MILLIMETRES:
        name, named = _UNITS[code]
        found.append(
            f"its affine is in {name}, of {named:g} mm each"
            if factor == named
            else f"its header says {name}, but its affine is that of a head in millimetres"
        )
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        found.append("no qform or sform: orientation and left and right are a guess")
    return (*found, *_disagreement(header, image.shape[:3], factor))


def _disagreement(header: nib.Nifti1Header, shape: Sequence[int], factor: float) -> list[str]:
    """Of the forms, by more than a voxel anywhere in the volume."""
    sform, qform = _sform(header), _qform(header)
    if sform is None or qform is None or header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return []
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape))))
    places = [nib.affines.apply_affine(form, corners) for form in (sform, qform)]
    apart = np.linalg.norm(places[0] - places[1], axis=-1).max()
    if apart <= nib.affines.voxel_sizes(sform).max():
        return []
    turned = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    return [
        f"its sform, which is used, and its qform lie up to {factor * apart:.1f} mm apart"
        + (", and differ in what is left and right" if turned else "")
    ]
