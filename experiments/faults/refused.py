"""Files that have to be refused, with the reason; see `corpus`."""

import gzip
from collections.abc import Iterator

import nibabel as nib
import numpy as np

from experiments.faults import forged


def files(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and reason."""
    yield from _no_image(head)
    yield from _cut_or_damaged(head)
    yield from _lying_header(head)
    yield from _too_large(head)
    yield from _bad_geometry(head)
    yield from _bad_shape_or_type(head)
    yield from _bad_values(head)


def _no_image(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """No image."""
    packed = gzip.compress(forged.file(head))
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


def _cut_or_damaged(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Cut or damaged."""
    good = forged.file(head)
    packed = gzip.compress(forged.file(head))
    yield "header_cut.nii", good[:200], "cut short"
    yield "header_only.nii", good[:352], "cut short"
    yield "truncated.nii", good[: len(good) // 2], r"cut short: \d+ bytes expected, \d+ found"
    yield "truncated_by_one.nii", good[:-1], "cut short"
    yield "gz_truncated.nii.gz", packed[: len(packed) // 2], "cut short"
    yield "gz_no_trailer.nii.gz", packed[:-8], "no end"
    yield "gz_bad_crc.nii.gz", forged.changed(packed, len(packed) - 6), "damaged"
    yield "gz_bit_flip.nii.gz", forged.changed(packed, len(packed) // 2), "damaged|cut short"
    corrupt = packed[:3000] + bytes(400) + packed[3400:]
    yield "gz_corrupt_middle.nii.gz", corrupt, "damaged|cut short"
    yield "pair_no_img.nii", forged.file(head, magic=b"ni1"), "one half of a pair"


def _lying_header(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """A header that lies."""
    x, y, z = head.shape
    yield "magic_wrong.nii", forged.file(head, magic=b"xx"), "magic"
    yield "sizeof_hdr_wrong.nii", forged.file(head, sizeof_hdr=7), "sizeof_hdr 7"
    yield "dim0_zero.nii", forged.file(head, dim=[0, x, y, z, 1, 1, 1, 1]), "dim"
    yield "dim0_nine.nii", forged.file(head, dim=[9, x, y, z, 1, 1, 1, 1]), "dim|no NIfTI"
    yield "dim_negative.nii", forged.file(head, dim=[3, x, -y, z, 1, 1, 1, 1]), "dim"
    yield "dim_zero.nii", forged.file(head, dim=[3, x, 0, z, 1, 1, 1, 1]), "dim"
    for name, value in (("huge", 1e12), ("nan", np.nan), ("low", 12)):
        yield f"vox_offset_{name}.nii", forged.file(head, vox_offset=value), "vox_offset"
    extended = forged.file(head, vox_offset=368)
    for name, size in (("huge", 2**31 - 16), ("zero", 0)):
        extension = b"\1\0\0\0" + int(size).to_bytes(4, "little") + b"\6\0\0\0" + bytes(8)
        yield f"extension_{name}.nii", extended[:348] + extension + extended[352:], "extension"
    yield "datatype_unknown.nii", forged.file(head, datatype=999), "datatype"
    yield "datatype_binary.nii", forged.file(head, datatype=1, bitpix=1), "datatype"
    yield "scl_inter_nan.nii", forged.file(head, scl_slope=1, scl_inter=np.nan), "scl_inter"


def _too_large(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Too large."""
    good = forged.file(head)
    huge = forged.file(head, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    yield "declared_huge.nii", huge, r"declares \d+ voxels"
    yield "declared_huge.nii.gz", gzip.compress(huge), r"declares \d+ voxels"
    yield "declared_7d.nii", forged.file(head, dim=[7, *[300] * 7]), r"declares \d+ voxels"
    large = bytearray(nib.Nifti2Image(head.astype(np.int16), np.eye(4)).to_bytes())
    large[16:80] = np.array([3, 2**40, 2**40, 2**40, 1, 1, 1, 1], np.int64).tobytes()
    yield "declared_nifti2_huge.nii", bytes(large), r"declares \d+ voxels"
    yield "gz_bomb.nii.gz", gzip.compress(good + bytes(64 * 2**20)), "far more data"


def _bad_geometry(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Geometry."""
    zeros = [0.0] * 4
    form: forged.Fields = {"sform_code": 1, "qform_code": 0}
    yield "affine_singular.nii", forged.file(head, srow_x=zeros, **form), "cannot be inverted"
    yield "affine_nan.nii", forged.file(head, srow_x=[np.nan] * 4, **form), "cannot be inverted"
    every: forged.Fields = {"srow_x": zeros, "srow_y": zeros, "srow_z": zeros}
    yield "affine_zero.nii", forged.file(head, **every, **form), "cannot be inverted"
    bad_quaternion = forged.file(head, sform_code=0, qform_code=1, quatern_b=3.0)
    yield "qform_bad_quaternion.nii", bad_quaternion, "a qform that cannot be used"
    both = forged.file(head, srow_x=zeros, sform_code=1, qform_code=1, quatern_b=np.nan)
    yield "both_forms_bad.nii", both, "an sform that cannot be inverted .* and a qform"
    none: forged.Fields = {"sform_code": 0, "qform_code": 0}
    for name, edge in (("zero", 0.0), ("nan", np.nan)):
        file = forged.file(head, pixdim=[1, edge, edge, edge, 1, 1, 1, 1], **none)
        yield f"pixdim_{name}_no_form.nii", file, "neither sform nor qform"
    yield "vox_absurd.nii", forged.file(head, np.diag([5000.0] * 3 + [1])), "voxels of"
    wrong_scale = forged.file(head, srow_x=[3 * forged.VOXEL_SIZE, 0, 0, 0], sform_code=1)
    yield "sform_scale_wrong.nii", wrong_scale, "contradicts itself"


def _bad_shape_or_type(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Shape and type."""
    yield "one_dimension.nii", forged.file(head[:, 15, 12]), "3-D"
    yield "two_dimensions.nii", forged.file(head[..., 12]), "3-D"
    yield "one_slice.nii", forged.file(head[..., 12:13]), "3-D"
    yield "one_voxel.nii", forged.file(head[:1, :1, :1]), "3-D"
    yield "tiny.nii", forged.file(head[9:14, 9:14, 9:14]), "field of view"
    yield "many_volumes.nii", forged.file(np.stack([head] * 3, -1)), "more than one volume"
    yield "vectors.nii", forged.file(np.stack([head] * 3, -1)[..., None, :]), "more than one volume"
    rgb = np.zeros(head.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    yield "rgb24.nii", nib.Nifti1Image(rgb, np.diag([8.0, 8, 8, 1])).to_bytes(), "real numbers"
    yield "complex64.nii", forged.file(head, dtype=np.complex64), "real numbers"


def _bad_values(head: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """Values."""
    real: forged.Fields = {"dtype": np.float32}
    yield "all_zero.nii", forged.file(0 * head), "constant"
    yield "constant.nii", forged.file(0 * head + 7), "constant"
    yield "almost_constant.nii", forged.file(1e6 + 1e-9 * head, dtype=np.float64), "constant"
    yield "nan_all.nii", forged.file(head * np.nan, **real), "constant|not finite"
    half = np.where(np.indices(head.shape)[0] % 7 == 3, np.nan, head)
    yield "nan_half_head.nii", forged.file(half, **real), "not finite"
    left = np.where(np.indices(head.shape)[0] < head.shape[0] // 2, np.nan, head)
    yield "nan_left_half.nii", forged.file(left, **real), "not finite"
    yield "inf_all.nii", forged.file(head + np.inf, **real), "constant|not finite"
    yield "labels.nii", forged.file(np.rint(head / 1000)), "label map"
    yield "mask.nii", forged.file(head > 3000), "mask"
    # The ratio of two inversions, or a phase, in air.
    uniform = np.random.default_rng(0).integers(0, 4095, head.shape)
    yield (
        "mp2rage_uni.nii",
        forged.file(np.where(head > 300, 4095e-4 * head, uniform)),
        "MP2RAGE UNI",
    )
    wrapped = np.where(head > 300, np.mod(2.0 * head, 8191), 2 * uniform) - 4096
    yield "phase.nii", forged.file(wrapped), "phase image"
