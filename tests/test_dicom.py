"""DICOM through dcm2niix itself: series, archives, enhanced files whose frames differ in slope."""

import tarfile
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from qc_jax import cli
from qc_jax.data import dicom, formats, geometry
from qc_jax.errors import ScanError, UnreadableError
from qc_jax.scoring import record

DEPTH, EDGE = 12, 16
TRUE = 100 + np.arange(DEPTH * EDGE * EDGE).reshape(DEPTH, EDGE, EDGE) % 900
"""`(Z, Y, X)`, in the order of DICOM."""
SLOPES = np.linspace(0.5, 3.0, DEPTH)


def nested(**fields):
    inside = Dataset()
    for name, value in fields.items():
        setattr(inside, name, value)
    return [inside]


def begun(kind, maker, series):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = kind, generate_uid()
    made.StudyInstanceUID = made.SeriesInstanceUID = made.FrameOfReferenceUID = series
    made.Modality, made.Manufacturer, made.PatientName, made.PatientID = "MR", maker, "x", "x"
    made.SeriesNumber, made.InstanceNumber, made.SeriesDescription = 3, 1, "t1"
    made.ImageType, made.PhotometricInterpretation = ["ORIGINAL", "PRIMARY", "M"], "MONOCHROME2"
    made.Rows, made.Columns, made.SamplesPerPixel = EDGE, EDGE, 1
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    return made


def save(path, made, syntax=ExplicitVRLittleEndian):
    path.parent.mkdir(parents=True, exist_ok=True)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, made, enforce_file_format=True)


def series(folder, slopes, maker="Siemens", syntax=ExplicitVRLittleEndian):
    """A file for each slice, as scanners of before 2020 write them."""
    number = generate_uid()
    for z, slope in enumerate(slopes):
        made = begun(MRImageStorage, maker, number)
        made.InstanceNumber = z + 1
        made.PixelSpacing, made.SliceThickness = [4, 4], 4
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient = [0, 0, 4.0 * z]
        made.RescaleIntercept, made.RescaleSlope = "0", f"{slope:.6g}"
        made.PixelData = np.rint(TRUE[z] / slope).astype(np.uint16).tobytes()
        save(folder / f"{z:03}.dcm", made, syntax)


def enhanced(folder, slopes, maker, syntax=ExplicitVRLittleEndian):
    """One file with all slices."""
    made = begun(EnhancedMRImageStorage, maker, generate_uid())
    made.NumberOfFrames = DEPTH
    shared = Dataset()
    shared.PixelMeasuresSequence = nested(PixelSpacing=[4, 4], SliceThickness=4)
    shared.PlaneOrientationSequence = nested(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    made.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for z, slope in enumerate(slopes):
        frame = Dataset()
        frame.FrameContentSequence = nested(
            StackID="1", InStackPositionNumber=z + 1, DimensionIndexValues=[1, z + 1]
        )
        frame.PlanePositionSequence = nested(ImagePositionPatient=[0, 0, 4.0 * z])
        frame.PixelValueTransformationSequence = nested(
            RescaleIntercept="0", RescaleSlope=f"{slope:.6g}", RescaleType="US"
        )
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = frames
    stored = np.rint(TRUE / np.array(slopes)[:, None, None]).astype(np.uint16)
    made.PixelData = stored.tobytes()
    save(folder / "all.dcm", made, syntax)


def assert_true(read):
    """The voxels where they belong: DICOM counts to the left and to the back."""
    data, affine = geometry.in_ras(read.image)
    np.testing.assert_allclose(data, TRUE.transpose(2, 1, 0)[::-1, ::-1], atol=2)
    np.testing.assert_allclose(np.diag(affine), [4, 4, 4, 1], atol=1e-5)


@pytest.mark.parametrize("slopes", [np.ones(DEPTH), SLOPES])
def test_a_series_is_the_same_as_a_folder_and_in_an_archive(slopes, tmp_path):
    folder = tmp_path / "series"
    series(folder, slopes)
    (folder / "below").mkdir()
    series(folder / "below", slopes)  # another one, which is none of this folder
    assert_true(formats.read_scan(folder))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for path in folder.glob("*.dcm"):
            packed.write(path, f"../../{path.name}/IM0001")
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as packed:
        for path in folder.glob("*.dcm"):
            packed.add(path, f"/elsewhere/{path.name}")
    before = sorted(tmp_path.rglob("*"))
    for name in ("a.zip", "b.tgz"):
        read = formats.read_scan(tmp_path / name)
        assert_true(read)
        assert read.image.get_filename() == str(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("maker", ["Siemens", "GE MEDICAL SYSTEMS", "Philips"])
def test_frames_with_slopes_of_their_own_are_right_or_refused(maker, syntax, tmp_path):
    enhanced(tmp_path / "one", np.full(DEPTH, 1.5), maker, syntax)
    assert_true(formats.read_scan(tmp_path / "one"))
    enhanced(tmp_path / "many", SLOPES, maker, syntax)
    assert len(dicom.slopes_of(tmp_path / "many" / "all.dcm")) == DEPTH
    if maker == "Philips":
        assert_true(formats.read_scan(tmp_path / "many"))
    else:
        with pytest.raises(ScanError, match=r"slopes of their own, from 0\.5 to 3,"):
            formats.read_scan(tmp_path / "many")


def test_what_holds_no_single_scan_is_refused_with_what_there_is(tmp_path):
    series(tmp_path / "two", np.ones(DEPTH))
    enhanced(tmp_path / "two", np.ones(DEPTH), "Siemens")
    with pytest.raises(ScanError, match=r"not one volume, but .*\(16 x 16 x 12\).*`dcm2niix -z y"):
        formats.read_scan(tmp_path / "two")
    series(tmp_path / "scout", np.ones(3))
    with pytest.raises(ScanError, match=r"not one volume, but 3_t1 \(16 x 16 x 3\)"):
        formats.read_scan(tmp_path / "scout")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "1.2.3").write_bytes(bytes(128) + b"DICM")
    assert dicom.is_dicom(tmp_path / "none" / "1.2.3") and not dicom.is_dicom(tmp_path / "a.txt")
    with pytest.raises(ScanError, match="is a folder that holds no image"):
        formats.read_scan(tmp_path / "none")


def test_archives_that_cannot_be_used_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ScanError, match="does not exist"):
        formats.read_scan(tmp_path / "gone.zip")
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    with pytest.raises(ScanError, match=r"bad\.tar cannot be unpacked"):
        formats.read_scan(tmp_path / "bad.tar")
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as packed:
        packed.writestr("folder/", "")
        packed.writestr("notes.txt", "no scan")
    with pytest.raises(
        ScanError, match=r"text\.zip is an archive that holds no image .*unpack it, convert"
    ):
        formats.read_scan(tmp_path / "text.zip")
    monkeypatch.setattr(dicom, "_MOST_BYTES", 5)
    with pytest.raises(ScanError, match="holds more than"):
        formats.read_scan(tmp_path / "text.zip")


def test_without_dcm2niix_the_command_is_said_and_another_call_tries_again(tmp_path, monkeypatch):
    series(tmp_path, np.ones(DEPTH))
    monkeypatch.setattr(dicom, "converter", lambda: None)
    with pytest.raises(UnreadableError, match=r"install it: python -m pip install 'qc_jax\[form"):
        formats.read_scan(tmp_path)


def test_the_contents_of_a_folder_are_those_of_its_files(tmp_path):
    series(tmp_path, np.ones(DEPTH))
    seen = record.look(tmp_path)
    assert record.look(tmp_path) == seen and len(seen.sha256) == 64 and seen.stamp[3] == DEPTH
    path = tmp_path / "003.dcm"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert record.look(tmp_path).sha256 != seen.sha256
    path.unlink()
    assert record.stamp_of(tmp_path)[3] == DEPTH - 1
    (tmp_path / "empty").mkdir()
    assert record.look(tmp_path / "empty") == record.Contents()


def test_a_folder_is_scored_and_its_record_holds(model_path, tmp_path, capsys, monkeypatch):
    series(tmp_path / "t1", SLOPES)
    command = ["score", str(tmp_path / "t1"), "--output-dir", str(tmp_path / "out")]
    command += ["--model", str(model_path), "--maps", "none"]
    first = cli.main(command)
    (page,) = (tmp_path / "out").glob("t1_*/*.json")
    written = page.stat().st_mtime_ns
    assert cli.main(command) == first
    assert page.stat().st_mtime_ns == written
    assert record.read(page)["stamp"][3] == DEPTH
