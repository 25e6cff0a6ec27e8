"""Reading: what is refused and why, and what is read alike however it was stored."""

import gzip
import os
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from qc_jax.data import grid, nifti, values
from qc_jax.errors import ScanError

SHAPE = (20, 18, 16)


def scan() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.float32)


def nifti_bytes(data=None, affine=None, **fields) -> bytearray:
    """An uncompressed file whose header fields are set behind nibabel's back."""
    image = nib.Nifti1Image(
        scan() if data is None else data, np.eye(4) if affine is None else affine
    )
    content = bytearray(image.to_bytes())
    known: Any = nib.Nifti1Header.template_dtype.fields or {}
    layout = {n: (dt, off) for n, (dt, off, *_) in known.items()}
    for name, value in fields.items():
        dtype, offset = layout[name]
        content[offset : offset + dtype.itemsize] = np.asarray(value, dtype.base).tobytes()
    return content


BAD = {
    "empty.nii": (b"", "is empty"),
    "text.nii": (b"not an image", "is plain text .'not an image'.; get it again"),
    "page.nii.gz": (b"<!doctype html>" + b" " * 400, "web page"),
    "pointer.nii.gz": (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
    "archive.nii.gz": (b"PK\x03\x04" + b"\0" * 400, "zip archive"),
    "pickle.nii": (b"\x80\x04\x95" + b"\0" * 400, "pickle"),
    "zeros.nii": (b"\0" * 400, "no NIfTI"),
    "twice.nii.gz": (gzip.compress(gzip.compress(bytes(nifti_bytes()))), "compressed twice"),
    "cut.nii": (bytes(nifti_bytes())[:-1], "cut short: .* bytes expected"),
    "header.nii": (bytes(nifti_bytes())[:352], "cut short"),
    "cut.nii.gz": (gzip.compress(bytes(nifti_bytes()))[:-2000], "cut short"),
    "trailer.nii.gz": (gzip.compress(bytes(nifti_bytes()))[:-8], "no end"),
    "magic.nii": (bytes(nifti_bytes(magic=b"xx")), "magic"),
    "sizeof.nii": (bytes(nifti_bytes(sizeof_hdr=7)), "sizeof_hdr 7"),
    "dim.nii": (bytes(nifti_bytes(dim=[3, 20, 0, 16, 1, 1, 1, 1])), "dim"),
    "huge.nii": (bytes(nifti_bytes(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])), "voxels"),
    "offset.nii": (bytes(nifti_bytes(vox_offset=12)), "vox_offset 12"),
    "datatype.nii": (bytes(nifti_bytes(datatype=999)), "datatype"),
    "slope.nii": (bytes(nifti_bytes(scl_slope=1, scl_inter=np.nan)), "scl_inter"),
    "complex.nii": (bytes(nifti_bytes(scan().astype(np.complex64))), "real numbers"),
    "flat.nii": (bytes(nifti_bytes(scan()[..., 0])), "3-D"),
    "thin.nii": (bytes(nifti_bytes(scan()[..., :1])), "3-D"),
    "four.nii": (bytes(nifti_bytes(np.stack([scan()] * 2, -1))), "more than one volume"),
    "voxels.nii": (bytes(nifti_bytes(affine=np.diag([50.0, 1, 1, 1]))), "50 1 1. mm"),
    "nan.nii": (
        bytes(nifti_bytes(np.where(np.indices(SHAPE)[0] % 7 == 3, np.nan, scan()))),
        "not finite",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_name_and_reason_in_one_line(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScanError, match=reason) as error:
        nifti.read_volume(path)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_singular_affine_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(nifti_bytes(srow_x=[0.0] * 4, sform_code=1, qform_code=0))
    with pytest.raises(ScanError, match="cannot be inverted"):
        nifti.read_volume(path)


def test_a_contradiction_of_sform_and_pixdim_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(nifti_bytes(srow_x=[3.0, 0, 0, 0], sform_code=1))
    with pytest.raises(ScanError, match="contradicts itself"):
        nifti.read_volume(path)


def test_every_flipped_bit_of_compressed_data_is_noticed(tmp_path):
    """nibabel stops at the last voxel and never sees the checksum."""
    content = bytearray(gzip.compress(bytes(nifti_bytes())))
    path = tmp_path / "a.nii.gz"
    rng = np.random.default_rng(0)
    for position in [*rng.integers(1000, len(content) - 8, 10), len(content) - 6]:
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ScanError, match=r"damaged|cut short|no NIfTI|far more"):
            nifti.read_volume(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(bytes(nifti_bytes()) + b"\1" * (40 * 2**20)))
    with pytest.raises(ScanError, match="far more data than its header says"):
        nifti.read_volume(path)


def test_what_is_no_file_is_refused_without_hanging(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "dangling.nii").symlink_to(tmp_path / "gone.nii")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    for name, reason in (
        ("pipe.nii", "no regular file"),
        ("folder.nii.gz", "folder"),
        ("dangling.nii", "its link leads to .*gone"),
        ("loop.nii", "symbolic links"),
        ("none.nii", "does not exist"),
    ):
        with pytest.raises(ScanError, match=reason):
            nifti.read_volume(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_read_as_nibabel_reads(tmp_path, dtype, name):
    path = tmp_path / name
    nib.save(nib.Nifti1Image((scan() / 4).astype(dtype), np.diag([1.5, 1, 2, 1])), path)
    data, affine = nifti.read_volume(path)
    expected = nib.load(path)
    np.testing.assert_array_equal(data, expected.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(affine, expected.affine)
    assert data.dtype == np.float32


def test_big_endian_nifti2_scaling_members_and_padding(tmp_path):
    image = nib.Nifti1Image(scan(), np.eye(4))
    swapped = nib.Nifti1Image(scan(), np.eye(4), nib.Nifti1Header(endianness=">"))
    scaled = nib.Nifti1Image(scan() - 3.5, np.eye(4))
    scaled.set_data_dtype(np.int16)
    plain = image.to_bytes()
    files = {
        "swapped.nii": swapped.to_bytes(),
        "two.nii": nib.Nifti2Image(scan(), np.eye(4)).to_bytes(),
        "members.nii.gz": gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]),
        "padded.nii.gz": gzip.compress(plain) + b"\0" * 512,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(nifti.read_volume(tmp_path / name)[0], scan(), err_msg=name)
    (tmp_path / "scaled.nii").write_bytes(scaled.to_bytes())
    data, _ = nifti.read_volume(tmp_path / "scaled.nii")
    np.testing.assert_allclose(data, scan() - 3.5, atol=0.02)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_resampling_keeps_the_place(step):
    """A ramp stays the ramp, whatever number of voxels is averaged."""
    ramp = np.arange(60.0)[:, None, None] * np.ones((1, 12, 12))
    centre = np.array([30.0, 6.0, 6.0])
    found = grid.resample(ramp, np.eye(4), step, (9, 3, 3), centre)
    expected = centre[0] + step * (np.arange(9) - 4)
    np.testing.assert_allclose(found[:, 1, 1], expected, atol=1e-4)


def test_orientation_and_trailing_axes_do_not_matter(tmp_path):
    path = tmp_path / "a.nii.gz"
    image = nib.Nifti1Image(scan()[..., None], np.eye(4))
    nib.save(image, path)
    np.testing.assert_array_equal(nifti.read_volume(path)[0], scan())
    nib.save(nib.Nifti1Image(scan()[::-1], np.diag([-1.0, 1, 1, 1])), path)
    np.testing.assert_array_equal(nifti.read_volume(path)[0], scan())


def test_a_background_of_nan_is_zero_and_absurd_scales_are_kept_finite(tmp_path):
    path = tmp_path / "a.nii"
    data = np.full(SHAPE, np.nan, np.float32)
    data[4:-4, 4:-4, 4:-4] = scan()[4:-4, 4:-4, 4:-4]
    path.write_bytes(nifti_bytes(data))
    np.testing.assert_array_equal(nifti.read_volume(path)[0], np.nan_to_num(data))
    for scale in (1e300, 1e-40):
        path.write_bytes(nifti_bytes(scan().astype(np.float64) * scale))
        found = nifti.read_volume(path)[0]
        np.testing.assert_allclose(found / found.max(), scan() / scan().max(), rtol=1e-5)


def test_every_byte_of_a_header_ends_in_a_volume_or_a_refusal(tmp_path):
    path = tmp_path / "a.nii"
    refused = 0
    for position in range(352):
        for value in (0x00, 0x7F, 0xFF):
            content = nifti_bytes()
            content[position] = value
            path.write_bytes(content)
            try:
                data, affine = nifti.read_volume(path)
            except ScanError:
                refused += 1
            else:
                assert np.isfinite(data).all() and np.isfinite(affine).all()
    assert 50 < refused < 700


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.full(SHAPE, 7.0), "constant"),
        (np.full(SHAPE, 1e6) + scan() * 1e-5, "constant"),
        ((scan() > 500).astype(np.float32), "mask"),
        (np.rint(scan() / 100), "label map"),
    ],
)
def test_what_is_no_scan(tmp_path, data, reason):
    with pytest.raises(ScanError, match=reason):
        values.check_scan(tmp_path, data, np.diag([10.0, 10, 10, 1]))


@pytest.mark.parametrize("edge", [2.0, 40.0])
def test_what_is_no_head_by_its_size(tmp_path, edge):
    with pytest.raises(ScanError, match="not that of a head"):
        values.check_scan(tmp_path, scan(), np.diag([edge] * 3 + [1]))


def test_the_header_is_looked_at_before_anything_is_read(tmp_path):
    path = tmp_path / "sparse.nii"
    with path.open("wb") as file:
        file.write(nifti_bytes(dim=[3, 4000, 4000, 4000, 1, 1, 1, 1])[:352])
        file.truncate(2**36)
    with pytest.raises(ScanError, match="64000000000 voxels"):
        nifti.read_volume(path)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii", "a"),
        ("a.nii.gz", "a"),
        ("A.NII", "A"),
        ("a.Nii.GZ", "a"),
        ("a.nii.nii", "a.nii"),
        ("a\nb.nii", "a\nb"),
    ],
)
def test_names_in_small_and_capital_letters(tmp_path, name, stem):
    assert nifti.is_nifti(tmp_path / name) and nifti.stem(tmp_path / name) == stem
    assert not nifti.is_nifti(tmp_path / f"{name}.json")
