#!/usr/bin/env bash
# dcm2niix v1.0.20260724: frames of enhanced DICOM with slopes of their own are scaled by one of them,
# without a word, where the maker is Siemens or GE.
#
# In enhanced (multi-frame) MR every frame may have a RescaleSlope of its own.  NIfTI has one for
# the whole image.  For the same file dcm2niix says "Saving as 32-bit float (slope, intercept or bits
# allocated varies)" and is right where (0008,0070) is Philips, Bruker or none.  Where it is
# Siemens, GE, UIH, TOSHIBA or Hitachi it writes integers with the slope of one frame: a uniform
# object becomes a ramp.  Single-frame files of one series with such slopes come out right for all.
# Tell it from what is made: integers of a file that has several slopes.
#
# Seen, brightest over darkest slice of a uniform block: Philips 1.00, Siemens 6.01, GE 6.01
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet dcm2niix==1.0.20260724 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6
"$place/venv/bin/python" - "$place" <<'PY'
import pathlib
import subprocess
import sys

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

SLOPES = np.linspace(0.5, 3, 16)


def nested(**fields):
    inside = Dataset()
    for name, value in fields.items():
        setattr(inside, name, value)
    return [inside]


def frame(number, slope):
    found = Dataset()
    found.FrameContentSequence = nested(
        StackID="1", InStackPositionNumber=number + 1, DimensionIndexValues=[1, number + 1]
    )
    found.PlanePositionSequence = nested(ImagePositionPatient=[0, 0, 4.0 * number])
    found.PixelValueTransformationSequence = nested(
        RescaleIntercept="0", RescaleSlope=f"{slope:.6g}", RescaleType="US"
    )
    return found


def enhanced(path, maker):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = EnhancedMRImageStorage, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.Modality, made.Manufacturer, made.PatientName, made.PatientID = "MR", maker, "x", "x"
    made.SeriesNumber = made.InstanceNumber = 1
    made.ImageType, made.PhotometricInterpretation = ["ORIGINAL", "PRIMARY", "M"], "MONOCHROME2"
    made.NumberOfFrames, made.Rows, made.Columns, made.SamplesPerPixel = len(SLOPES), 32, 32, 1
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    shared = Dataset()
    shared.PixelMeasuresSequence = nested(PixelSpacing=[4, 4], SliceThickness=4)
    shared.PlaneOrientationSequence = nested(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [frame(*each) for each in enumerate(SLOPES)]
    stored = np.rint(1000 / SLOPES).astype(np.uint16)
    made.PixelData = np.broadcast_to(stored[:, None, None], (len(SLOPES), 32, 32)).tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir()
    pydicom.dcmwrite(path, made, enforce_file_format=True)


for maker, right in (("Philips", True), ("Siemens", False), ("GE MEDICAL SYSTEMS", False)):
    folder = pathlib.Path(sys.argv[1], maker.split()[0])
    enhanced(folder / "a.dcm", maker)
    program = pathlib.Path(sys.executable).with_name("dcm2niix")
    command = [program, "-b", "n", "-z", "n", "-f", "made", "-o", folder, folder]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    slices = nib.load(folder / "made.nii").get_fdata().mean(axis=(0, 1))
    ratio, told = slices.max() / slices.min(), "slope, intercept or bits" in said
    print(f"{maker}: brightest over darkest slice {ratio:.2f}; said that slopes vary: {told}")
    assert (ratio < 1.01) == right and told == right, "the behaviour has changed"
PY
