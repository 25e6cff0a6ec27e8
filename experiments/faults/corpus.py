"""Scans that are bad or awkward, each made from one small head, with what has to become of it.

A bad file has to be refused for the reason given.  An awkward one has to be scored; where it holds
the same head as the reference, only stored differently, its scores have to be the reference's, and
nothing else may be said of it than of the reference but for what is odd about it.
"""

import dataclasses
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

VOXEL_SIZE = 8.0
"""mm, of the reference."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A file of the corpus.

    Attributes:
      path: of the file.
      reason: regular expression that the refusal has to match; empty where it has to be scored.
      tolerance: relative, of the scores against the reference's; None where they may differ.
      warning: regular expression that one of its warnings has to match; empty where there is no
        reason for one beyond those of the reference.
    """

    path: Path
    reason: str = ""
    tolerance: float | None = None
    warning: str = ""


def make(folder: Path, head: np.ndarray) -> list[Case]:
    """Writes the corpus.

    Args:
      folder: empty.
      head: `(X, Y, Z)` in [0, 1], at `VOXEL_SIZE`.

    Returns:
      The cases; the first is the reference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head = np.rint(10_000 * head.astype(np.float64))
    cases = [_write(folder, "reference.nii.gz", gzip.compress(_file(head)), "", 0.0)]
    for name, content, reason in _bad_files(head):
        cases.append(_write(folder, name, content, reason, None))
    for name, content, tolerance in _awkward_files(head):
        cases.append(_write(folder, name, content, "", tolerance))
    return cases + list(_special_files(folder)) + list(_names(folder, _file(head)))


def _write(folder: Path, name: str, content: bytes, reason: str, tolerance: float | None) -> Case:
    (folder / name).write_bytes(content)
    return Case(folder / name, reason, tolerance, _WARNINGS.get(name, ""))


def _file(data: np.ndarray, affine: np.ndarray | None = None, dtype=np.int16, **fields) -> bytes:
    """An uncompressed file, with header fields that are set behind nibabel's back."""
    affine = np.diag([VOXEL_SIZE] * 3 + [1.0]) if affine is None else affine
    content = bytearray(nib.Nifti1Image(data.astype(dtype), affine, dtype=dtype).to_bytes())
    layout = {n: (dt, off) for n, (dt, off, *_) in nib.Nifti1Header.template_dtype.fields.items()}
    for name, value in fields.items():
        kind, offset = layout[name]
        content[offset : offset + kind.itemsize] = np.asarray(value, kind.base).tobytes()
    return bytes(content)


def _changed(content: bytes, position: int, bits: int = 1) -> bytes:
    changed = bytearray(content)
    changed[position] ^= bits
    return bytes(changed)


def _bad_files(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and reason."""
    good = _file(head)
    packed = gzip.compress(good)
    x, y, z = head.shape
    # -- No image --------------------------------------------------------------------------------
    yield "empty.nii", b"", "is empty"
    yield "empty.nii.gz", b"", "is empty"
    yield "empty_gz_stream.nii.gz", gzip.compress(b""), "is empty"
    yield "text.nii", b"not an image\n" * 50, "plain text"
    yield "html.nii.gz", b"<!doctype html>" + b" " * 400, "web page"
    yield "lfs_pointer.nii.gz", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"
    yield "dicom.nii", b"\0" * 128 + b"DICM" + b"\0" * 400, "is DICOM.*dcm2niix"
    yield "zip_named.nii.gz", b"PK\x03\x04" + b"\0" * 400, "zip archive"
    yield "annex_pointer.nii.gz", b"/annex/objects/MD5E-s1862--8b1a.nii.gz\n", "datalad get"
    yield (
        "mgh_named.nii",
        nib.MGHImage(head.astype(np.float32), np.eye(4)).to_bytes(),
        "mri_convert",
    )
    yield "hdf5.nii", b"\x89HDF\r\n\x1a\n" + bytes(600), "MINC 2"
    yield "nrrd.nii", b"NRRD0005\ntype: short\n" + bytes(600), "is NRRD"
    yield "json.nii.gz", b'{"EchoTime": 0.003}', "is JSON"
    yield "analyze.nii", nib.AnalyzeHeader().binaryblock, "Analyze header"
    yield "apple_double.nii", b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(600), "macOS"
    yield "zeros.nii", b"\0" * 352, "zeros alone"
    yield "pickle.nii", b"\x80\x04\x95" + b"\0" * 400, "pickle"
    yield "pickle.nii.gz", gzip.compress(b"\x80\x04\x95" + b"\0" * 400), "pickle"
    yield "gz_twice.nii.gz", gzip.compress(packed), "compressed twice"
    # -- Cut or damaged --------------------------------------------------------------------------
    yield "header_cut.nii", good[:200], "cut short"
    yield "header_only.nii", good[:352], "cut short"
    yield "truncated.nii", good[: len(good) // 2], r"cut short: \d+ bytes expected, \d+ found"
    yield "truncated_by_one.nii", good[:-1], "cut short"
    yield "gz_truncated.nii.gz", packed[: len(packed) // 2], "cut short"
    yield "gz_no_trailer.nii.gz", packed[:-8], "no end"
    yield "gz_bad_crc.nii.gz", _changed(packed, len(packed) - 6), "damaged"
    yield "gz_bit_flip.nii.gz", _changed(packed, len(packed) // 2), "damaged|cut short"
    corrupt = packed[:3000] + bytes(400) + packed[3400:]
    yield "gz_corrupt_middle.nii.gz", corrupt, "damaged|cut short"
    yield "pair_no_img.nii", _file(head, magic=b"ni1"), "one half of a pair"
    # -- A header that lies ----------------------------------------------------------------------
    yield "magic_wrong.nii", _file(head, magic=b"xx"), "magic"
    yield "sizeof_hdr_wrong.nii", _file(head, sizeof_hdr=7), "sizeof_hdr 7"
    yield "dim0_zero.nii", _file(head, dim=[0, x, y, z, 1, 1, 1, 1]), "dim"
    yield "dim0_nine.nii", _file(head, dim=[9, x, y, z, 1, 1, 1, 1]), "dim|no NIfTI"
    yield "dim_negative.nii", _file(head, dim=[3, x, -y, z, 1, 1, 1, 1]), "dim"
    yield "dim_zero.nii", _file(head, dim=[3, x, 0, z, 1, 1, 1, 1]), "dim"
    for name, value in (("huge", 1e12), ("nan", np.nan), ("low", 12)):
        yield f"vox_offset_{name}.nii", _file(head, vox_offset=value), "vox_offset"
    extended = _file(head, vox_offset=368)
    for name, size in (("huge", 2**31 - 16), ("zero", 0)):
        extension = b"\1\0\0\0" + int(size).to_bytes(4, "little") + b"\6\0\0\0" + bytes(8)
        yield f"extension_{name}.nii", extended[:348] + extension + extended[352:], "extension"
    yield "datatype_unknown.nii", _file(head, datatype=999), "datatype"
    yield "datatype_binary.nii", _file(head, datatype=1, bitpix=1), "datatype"
    yield "scl_inter_nan.nii", _file(head, scl_slope=1, scl_inter=np.nan), "scl_inter"
    # -- Too large -------------------------------------------------------------------------------
    huge = _file(head, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    yield "declared_huge.nii", huge, r"declares \d+ voxels"
    yield "declared_huge.nii.gz", gzip.compress(huge), r"declares \d+ voxels"
    yield "declared_7d.nii", _file(head, dim=[7, *[300] * 7]), r"declares \d+ voxels"
    large = bytearray(nib.Nifti2Image(head.astype(np.int16), np.eye(4)).to_bytes())
    large[16:80] = np.array([3, 2**40, 2**40, 2**40, 1, 1, 1, 1], np.int64).tobytes()
    yield "declared_nifti2_huge.nii", bytes(large), r"declares \d+ voxels"
    yield "gz_bomb.nii.gz", gzip.compress(good + bytes(64 * 2**20)), "far more data"
    # -- Geometry --------------------------------------------------------------------------------
    zeros, form = [0.0] * 4, {"sform_code": 1, "qform_code": 0}
    yield "affine_singular.nii", _file(head, srow_x=zeros, **form), "cannot be inverted"
    yield "affine_nan.nii", _file(head, srow_x=[np.nan] * 4, **form), "cannot be inverted"
    every = {"srow_x": zeros, "srow_y": zeros, "srow_z": zeros}
    yield "affine_zero.nii", _file(head, **every, **form), "cannot be inverted"
    bad_quaternion = _file(head, sform_code=0, qform_code=1, quatern_b=3.0)
    yield "qform_bad_quaternion.nii", bad_quaternion, "a qform that cannot be used"
    both = _file(head, srow_x=zeros, sform_code=1, qform_code=1, quatern_b=np.nan)
    yield "both_forms_bad.nii", both, "an sform that cannot be inverted .* and a qform"
    none = {"sform_code": 0, "qform_code": 0}
    for name, edge in (("zero", 0.0), ("nan", np.nan)):
        file = _file(head, pixdim=[1, edge, edge, edge, 1, 1, 1, 1], **none)
        yield f"pixdim_{name}_no_form.nii", file, "neither sform nor qform"
    yield "vox_absurd.nii", _file(head, np.diag([5000.0] * 3 + [1])), "voxels of"
    wrong_scale = _file(head, srow_x=[3 * VOXEL_SIZE, 0, 0, 0], sform_code=1)
    yield "sform_scale_wrong.nii", wrong_scale, "contradicts itself"
    # -- Shape and type --------------------------------------------------------------------------
    yield "one_dimension.nii", _file(head[:, 15, 12]), "3-D"
    yield "two_dimensions.nii", _file(head[..., 12]), "3-D"
    yield "one_slice.nii", _file(head[..., 12:13]), "3-D"
    yield "one_voxel.nii", _file(head[:1, :1, :1]), "3-D"
    yield "tiny.nii", _file(head[9:14, 9:14, 9:14]), "field of view"
    yield "many_volumes.nii", _file(np.stack([head] * 3, -1)), "more than one volume"
    yield "vectors.nii", _file(np.stack([head] * 3, -1)[..., None, :]), "more than one volume"
    rgb = np.zeros(head.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    yield "rgb24.nii", nib.Nifti1Image(rgb, np.diag([8.0, 8, 8, 1])).to_bytes(), "real numbers"
    yield "complex64.nii", _file(head, dtype=np.complex64), "real numbers"
    # -- Values ----------------------------------------------------------------------------------
    real = {"dtype": np.float32}
    yield "all_zero.nii", _file(0 * head), "constant"
    yield "constant.nii", _file(0 * head + 7), "constant"
    yield "almost_constant.nii", _file(1e6 + 1e-9 * head, dtype=np.float64), "constant"
    yield "nan_all.nii", _file(head * np.nan, **real), "constant|not finite"
    half = np.where(np.indices(head.shape)[0] % 7 == 3, np.nan, head)
    yield "nan_half_head.nii", _file(half, **real), "not finite"
    left = np.where(np.indices(head.shape)[0] < head.shape[0] // 2, np.nan, head)
    yield "nan_left_half.nii", _file(left, **real), "not finite"
    yield "inf_all.nii", _file(head + np.inf, **real), "constant|not finite"
    yield "labels.nii", _file(np.rint(head / 1000)), "label map"
    yield "mask.nii", _file(head > 3000), "mask"
    # The ratio of two inversions, or a phase, in air.
    uniform = np.random.default_rng(0).integers(0, 4095, head.shape)
    yield "mp2rage_uni.nii", _file(np.where(head > 300, 4095e-4 * head, uniform)), "MP2RAGE UNI"
    wrapped = np.where(head > 300, np.mod(2.0 * head, 8191), 2 * uniform) - 4096
    yield "phase.nii", _file(wrapped), "phase image"


def _awkward_files(head: np.ndarray) -> Iterator[tuple[str, bytes, float | None]]:
    """Name, content and tolerance."""
    good, affine = _file(head), np.diag([VOXEL_SIZE] * 3 + [1.0])
    # -- The same numbers, stored differently ----------------------------------------------------
    for dtype in (np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64):
        yield f"{np.dtype(dtype).name}.nii", _file(head, dtype=dtype), 1e-5
    swapped = nib.Nifti1Image(head.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
    yield "big_endian.nii", swapped.to_bytes(), 1e-5
    yield "nifti2.nii", nib.Nifti2Image(head.astype(np.int16), affine).to_bytes(), 1e-5
    yield "slope.nii", _file(head, scl_slope=0.37, scl_inter=0.0), 1e-4
    yield "offset.nii", _file(head, scl_slope=1.0, scl_inter=50.0), None
    yield "members.nii.gz", gzip.compress(good[:5000]) + gzip.compress(good[5000:]), 1e-5
    yield "padded.nii.gz", gzip.compress(good) + bytes(512), 1e-5
    yield "trailing_bytes.nii", good + bytes(64), 1e-5
    yield "one_more_axis.nii", _file(head[..., None]), 1e-5
    yield "plain_named.nii.gz", good, 1e-5
    yield "gz_named.nii", gzip.compress(good), 1e-5
    # -- The same head, a header that asks for care ----------------------------------------------
    both = {"sform_code": 1, "qform_code": 1}
    bad = {"quatern_b": 0.0, "quatern_c": 0.8, "quatern_d": 0.7}
    yield "quaternion_unused.nii", _file(head, sform_code=1, qform_code=0, **bad), 1e-5
    yield "quaternion_nan_unused.nii", _file(head, sform_code=1, quatern_b=np.nan), 1e-5
    yield "quaternion_bad_beside_sform.nii", _file(head, **both, **bad), 1e-5
    yield "sform_bad_beside_qform.nii", _file(head, **both, srow_x=[0.0] * 4), 1e-5
    turn = np.sqrt(0.5) + 4e-7
    long = {"quatern_b": turn, "quatern_c": turn, "sform_code": 0, "qform_code": 1}
    yield "quaternion_rounded.nii", _file(head.transpose(1, 0, 2)[..., ::-1], **long), 1e-3
    yield "pixdim_zero_sform.nii", _file(head, pixdim=[1, 0, 0, 0, 1, 1, 1, 1]), 1e-5
    yield "code_99.nii", _file(head, sform_code=99), 1e-5
    yield "forms_disagree.nii", _file(head, **both, qoffset_x=30.0), 1e-5
    for name, factor, code in (("metres", 1e-3, 1), ("micrometres", 1e3, 3), ("lie", 1.0, 1)):
        in_unit = np.diag([factor * VOXEL_SIZE] * 3 + [1.0])
        yield f"units_{name}.nii", _file(head, in_unit, xyzt_units=code), 1e-5
    large = nib.Nifti1Image(head.astype(np.int16), affine)
    large.header.extensions.append(nib.nifti1.Nifti1Extension(6, b" " * 3 * 2**20))
    yield "extension_3MB.nii.gz", gzip.compress(large.to_bytes()), 1e-5
    # -- The same head, turned -------------------------------------------------------------------
    image = nib.Nifti1Image(head.astype(np.int16), affine)
    for codes in ("LPS", "LAS", "RPI", "PIR", "SRP", "ASL", "IPR", "SAL"):
        turn = nib.orientations.axcodes2ornt(codes)
        yield f"orientation_{codes}.nii", image.as_reoriented(turn).to_bytes(), 1e-3
    # -- Other grids, other values ---------------------------------------------------------------
    angle = np.deg2rad(20)
    oblique = affine.copy()
    oblique[:2, :2] = VOXEL_SIZE * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    yield "oblique.nii", _file(head, oblique), None
    sheared = affine.copy()
    sheared[0, 1] = 2.0
    yield "sheared.nii", _file(head, sheared), None
    yield "thick_slices.nii", _file(head[..., ::2], affine @ np.diag([1, 1, 2, 1])), None
    yield "odd_size.nii", _file(head[1:, :-1, 1:]), None
    yield "slab.nii", _file(head[..., 8:16]), None
    yield "no_form.nii", _file(head, qform_code=0, sform_code=0), None
    background = np.where(head < 300, np.nan, head)
    background[8:-8, 8:-8, 8:-8] = head[8:-8, 8:-8, 8:-8]
    yield "nan_background.nii", _file(background, dtype=np.float32), None
    few = head.copy()
    few[12, 15, 12], few[12, 16, 12] = np.nan, np.inf
    yield "few_not_finite.nii", _file(few, dtype=np.float32), None
    hot = head.copy()
    hot[np.unravel_index(hot.argmax(), hot.shape)] = 3e7
    yield "hot_voxel.nii", _file(hot, dtype=np.float32), 2e-2
    mean = np.pad(head, ((3, 3), (3, 3), (0, 3)), constant_values=np.rint(head.mean()))
    yield "margin_of_the_mean.nii", _file(mean), None
    for scale in (1e30, 1e300, 1e-30):
        yield f"scale_{scale:g}.nii", _file(head * scale, dtype=np.float64), 1e-3
    yield "negative.nii", _file(head - 5000), None
    noise = np.random.default_rng(0).normal(1000, 300, head.shape)
    yield "noise_only.nii", _file(noise), None


_WARNINGS = {
    "trailing_bytes.nii": "after its last voxel, with 64 bytes",
    "one_more_axis.nii": "its only volume",
    "plain_named.nii.gz": "not compressed, unlike its name",
    "gz_named.nii": "is compressed, unlike its name",
    "quaternion_bad_beside_sform.nii": "a qform that cannot be used",
    "sform_bad_beside_qform.nii": "an sform that cannot be inverted",
    "pixdim_zero_sform.nii": "its sform has the voxel size",
    "code_99.nii": "sform_code 99 is unknown",
    "forms_disagree.nii": "up to 30.0 mm apart",
    "units_metres.nii": "its affine is in metres",
    "units_micrometres.nii": "its affine is in micrometres",
    "units_lie.nii": "says metres",
    "extension_3MB.nii.gz": "3.0 MB",
    "sheared.nii": "sheared",
    "thick_slices.nii": "voxels of 16 mm",
    "slab.nii": "only 8 slices",
    "no_form.nii": "no qform or sform",
    "nan_background.nii": "are not finite",
    "few_not_finite.nii": "are not finite",
    "hot_voxel.nii": "far outside of the range",
    "margin_of_the_mean.nii": "a margin of",
    "negative.nii": "values below zero",
}
"""What has to be said of a file, by its name."""


def _special_files(folder: Path) -> Iterator[Case]:
    """What is no regular file; what root may read is left out for root."""
    (folder / "directory.nii.gz").mkdir()
    yield Case(folder / "directory.nii.gz", "folder")
    links: dict[str, tuple[str, str]] = {
        "dangling.nii": ("gone.nii", "its link leads to"),
        "link_loop.nii": ("link_loop.nii", "symbolic links"),
        "dev_zero.nii": ("/dev/zero", "no regular file"),
    }
    for name, (target, reason) in links.items():
        (folder / name).symlink_to(target)
        yield Case(folder / name, reason)
    os.mkfifo(folder / "fifo.nii")
    yield Case(folder / "fifo.nii", "no regular file")
    if os.geteuid():
        (folder / "unreadable.nii").write_bytes(b"")
        (folder / "unreadable.nii").chmod(0)
        yield Case(folder / "unreadable.nii", "cannot be read")


_AWKWARD_NAMES: tuple[str | bytes, ...] = (
    " space .nii",
    "$(touch PWNED).nii",
    "; touch PWNED.nii",
    "u\u0308ber.nii",
    "new\nline.nii",
    "tab\tquote'\".nii",
    "=1+1.nii",
    "@SUM(A1).nii",
    "<img src=x onerror=alert(1)>.nii",
    "{0}%s%(a)s.nii",
    "-rf.nii",
    ".hidden.nii",
    b"latin-\xe9.nii",
    "n" * 240 + ".nii",
    "UPPER.NII.nii",
    "upper.nii.nii",
    "twice.nii",
    "twice.nii.gz",
)


def _names(folder: Path, content: bytes) -> Iterator[Case]:
    """The reference under names that shells, spreadsheets and browsers stumble over."""
    (folder / "names").mkdir()
    make_path: Callable[[str | bytes], Path] = lambda name: Path(os.fsdecode(name))  # noqa: E731
    for name in _AWKWARD_NAMES:
        path = folder / "names" / make_path(name)
        path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
        yield Case(path, "", 1e-5)
