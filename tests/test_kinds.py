"""What is no NIfTI is called by its name, by its bytes alone, with what to do."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest

from qc_jax.data import nifti
from qc_jax.errors import ScanError

SHAPE = (20, 18, 16)
VOLUME = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
ANNEX = b"/annex/objects/MD5E-s1862--8b1a9953c4611296a827abf8c47804d7.nii.gz\n"
LINK = b"../../.git/annex/objects/9k/VV/MD5E-s1862--8b1a.nii.gz/MD5E-s1862--8b1a.nii.gz"
PAR = b"# === DATA DESCRIPTION FILE ====================\n#\n# CAUTION - Investigational device.\n"


def mgh() -> bytes:
    return nib.MGHImage(VOLUME.astype(np.float32), np.eye(4)).to_bytes()


def dicom(preamble: bytes) -> bytes:
    group = b"\x02\x00\x00\x00UL\x04\x00\xc0\x00\x00\x00" if preamble else b""
    return preamble + group + b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(600)


KINDS = {
    "nothing": (b"", "is empty"),
    "DICOM": (dicom(bytes(128) + b"DICM"), "is DICOM; convert its series with dcm2niix"),
    "DICOM without preamble": (dicom(b""), "is DICOM"),
    "git-annex": (ANNEX, "git-annex alone; get it with `datalad get`"),
    "git-annex, a link as text": (LINK, "git-annex alone; get it with `datalad get`"),
    "git-annex on Windows": (LINK.replace(b"/", b"\\"), "`datalad get`"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4\n", "`git lfs pull`"),
    "text": (b"subject\tage\n" * 100, "is plain text .'subject age"),
    "short text": (b"404: Not Found", "is plain text .'404: Not Found'"),
    "UTF-8": ("für später\n".encode() * 100, "is plain text .'für später"),
    "web page": (b"\n<!DOCTYPE html><html><head></head></html>" * 20, "is a web page"),
    "XML": (b'<?xml version="1.0"?><GIFTI/>', "is XML"),
    "JSON": (b'{"EchoTime": 0.003}', "is JSON; the image beside it is needed"),
    "zip": (b"PK\x03\x04" + bytes(600), "is a zip archive; unpack it"),
    "bzip2": (b"BZh91AY&SY" + bytes(600), "bunzip2"),
    "xz": (b"\xfd7zXZ\0" + bytes(600), "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(600), "unzstd"),
    "tar": (b"a.nii" + bytes(252) + b"ustar\0" + bytes(600), "is a tar archive"),
    "MGH": (mgh(), r"is FreeSurfer's MGZ; convert it with `mri_convert scan.\S+ scan.nii.gz`"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "perhaps MINC 2; convert that with mnc2nii"),
    "NetCDF": (b"CDF\x01" + bytes(600), "perhaps MINC 1"),
    "NRRD": (b"NRRD0005\ntype: short\n", "is NRRD; convert it"),
    "MetaImage": (b"ObjectType = Image\nNDims = 3\n", "is MetaImage; convert it"),
    "PAR": (PAR * 10, "is Philips's PAR; convert the PAR/REC pair with dcm2niix"),
    "Analyze": (nib.AnalyzeHeader().binaryblock, "is an Analyze header; convert the pair"),
    "Analyze, big endian": (nib.AnalyzeHeader(endianness=">").binaryblock, "an Analyze header"),
    "macOS": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(600), "that macOS writes"),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(600), "is a NumPy array"),
    "MATLAB": (b"MATLAB 5.0 MAT-file" + bytes(600), "is a MATLAB file"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(600), "is a PNG picture"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(600), "is a JPEG picture"),
    "zeros": (bytes(1000), "holds zeros alone"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_file_is_called_by_its_name(tmp_path, kind, name, packed):
    content, what = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ScanError, match=what) as error:
        nifti.read_image(path)
    assert str(error.value).startswith(f"{path} ") and "\n" not in str(error.value)


def test_both_halves_of_a_pair_say_how_to_make_one_file(tmp_path):
    nib.save(nib.Nifti1Pair(VOLUME, np.eye(4)), tmp_path / "scan.img")
    for name in ("scan.hdr", "scan.img"):
        with pytest.raises(ScanError, match=r"is one half of a pair.*`nib-convert NAME.hdr NAME"):
            nifti.read_image(tmp_path / name)
    (tmp_path / "scan.PAR").write_bytes(PAR)
    (tmp_path / "scan.REC").write_bytes(VOLUME.tobytes())
    with pytest.raises(ScanError, match="is one half of a pair"):
        nifti.read_image(tmp_path / "scan.REC")


def test_where_there_is_no_file(tmp_path):
    annex = tmp_path / "annex.nii.gz"
    annex.symlink_to("../.git/annex/objects/9k/VV/MD5E-s1--8b1a.nii.gz/MD5E-s1--8b1a.nii.gz")
    (tmp_path / "dicoms").mkdir()
    for path, reason in (
        (annex, "get it with `datalad get`"),
        (tmp_path / "dicoms", "is a folder, not a scan; of a folder of DICOM files dcm2niix"),
        (tmp_path / "gone.nii", "does not exist"),
    ):
        with pytest.raises(ScanError, match=reason) as error:
            nifti.read_image(path)
        assert str(path) in str(error.value)


def test_a_name_of_two_lines_makes_no_reason_of_two(tmp_path):
    path = tmp_path / "a\nb.nii"
    path.write_bytes(b"text")
    with pytest.raises(ScanError, match=r"a b\.nii is plain text"):
        nifti.read_image(path)


GOOD = nib.Nifti1Image(VOLUME, np.diag([8.0, 8, 8, 1])).to_bytes()


def extended(size: int) -> bytes:
    image = nib.Nifti1Image(VOLUME, np.diag([8.0, 8, 8, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"{" + b" " * size + b"}"))
    return image.to_bytes()


ODD = {
    "plain": ("a.nii", GOOD, ""),
    "compressed": ("a.nii.gz", gzip.compress(GOOD), ""),
    "upper case": ("A.NII.GZ", gzip.compress(GOOD), ""),
    "padded": ("a.nii.gz", gzip.compress(GOOD) + bytes(512), ""),
    "members": ("a.nii.gz", gzip.compress(GOOD[:5000]) + gzip.compress(GOOD[5000:]), ""),
    "small extension": ("a.nii", extended(2000), ""),
    "large extension": ("a.nii.gz", gzip.compress(extended(3 * 2**20)), "a header of 3.0 MB"),
    "not compressed": ("a.nii.gz", GOOD, "the file is not compressed, unlike its name"),
    "compressed all the same": ("a.nii", gzip.compress(GOOD), "the file is compressed, unlike"),
    "bytes after it": ("a.nii", GOOD + bytes(64), "after its last voxel, with 64 bytes"),
    "bytes in the stream": ("a.nii.gz", gzip.compress(GOOD + b"abc"), "voxel, with 3 bytes"),
    "bytes after the stream": ("a.nii.gz", gzip.compress(GOOD) + b"abc", "is not compressed"),
    "a stream after it": ("a.nii.gz", gzip.compress(GOOD) + gzip.compress(b"a"), "goes on after"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_about_the_bytes_is_said(tmp_path, name):
    file, content, said = ODD[name]
    (tmp_path / file).write_bytes(content)
    image, warnings = nifti.read_image(tmp_path / file)
    np.testing.assert_array_equal(image.dataobj, VOLUME)
    assert image.get_filename() == str(tmp_path / file)
    assert len(warnings) == bool(said) and re.search(re.escape(said), " ".join(warnings))


def test_what_nibabel_warns_of_reaches_the_record(tmp_path):
    content = bytearray(extended(24))
    content[352:356] = (40).to_bytes(4, "little")  # of 48 that are there
    (tmp_path / "a.nii").write_bytes(content)
    assert "multiple of 16" in " ".join(nifti.read_image(tmp_path / "a.nii").warnings)
