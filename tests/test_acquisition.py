"""What header and sidecars say of a scan, with the inheritance of BIDS."""

import json

import nibabel as nib
import numpy as np
import pytest

from qc_jax.scoring import acquisition, bids, jobs

IMAGE = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([0.9375, 1.0, 1.2, 1.0]))


def test_the_header_alone(tmp_path):
    (job,) = jobs.plain_jobs([tmp_path / "[a].nii.gz"])
    assert acquisition.read(job, IMAGE) == (
        {"voxel_size_mm": "0.938x1x1.2", "matrix": "4x5x6"},
        [],
    )


def test_the_sidecar_of_a_plain_scan(tmp_path):
    (tmp_path / "[a].json").write_text('{"Manufacturer": "Acme", "FlipAngle": 8, "matrix": "0"}')
    (job,) = jobs.plain_jobs([tmp_path / "[a].nii.gz"])
    found, _ = acquisition.read(job, IMAGE)
    assert (found["Manufacturer"], found["FlipAngle"], found["matrix"]) == ("Acme", 8, "4x5x6")


@pytest.fixture
def job(tmp_path):
    folder = tmp_path / "sub-01" / "ses-1" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-01_ses-1_acq-fast_T1w.nii.gz").write_bytes(b"")
    (job,) = bids.list_scans(tmp_path, bids.selection((), (), ("T1w",), {})).jobs
    return job


def put(path, **fields):
    path.write_text(json.dumps(fields))


def test_the_nearest_sidecar_counts(job, tmp_path):
    put(tmp_path / "T1w.json", Manufacturer="Acme", EchoTime=0.002, FlipAngle=7)
    put(tmp_path / "acq-fast_T1w.json", FlipAngle=8)
    put(tmp_path / "acq-slow_T1w.json", FlipAngle=90)
    put(tmp_path / "T2w.json", FlipAngle=120)
    put(job.scan.parent / "sub-01_ses-1_acq-fast_T1w.json", EchoTime=0.003)
    found, warnings = acquisition.read(job, IMAGE)
    assert (found["Manufacturer"], found["FlipAngle"], found["EchoTime"]) == ("Acme", 8, 0.003)
    assert warnings == []


def test_nothing_that_says_who_or_where_and_no_other_type(job, tmp_path):
    put(tmp_path / "T1w.json", InstitutionName="x", FlipAngle=[8], EchoTime=True, Manufacturer=3)
    found, _ = acquisition.read(job, IMAGE)
    assert set(found) == set(acquisition.HEADER)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", 200_000 * b"["])
def test_a_damaged_sidecar_never_costs_the_scan(job, tmp_path, content):
    (tmp_path / "T1w.json").write_bytes(content)
    put(job.scan.parent / "sub-01_ses-1_acq-fast_T1w.json", EchoTime=0.003)
    found, warnings = acquisition.read(job, IMAGE)
    assert found["EchoTime"] == 0.003
    assert len(warnings) == 1 and "its sidecar T1w.json cannot be read" in warnings[0]


def test_a_sidecar_that_is_a_list_says_nothing(job, tmp_path):
    (tmp_path / "T1w.json").write_text("[1]")
    assert acquisition.read(job, IMAGE)[1] == []


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("EchoTime", 0.003, True),
        ("EchoTime", 10**400, False),
        ("EchoTime", float("nan"), False),
        ("EchoTime", "0.003", False),
        ("Manufacturer", "Acme", True),
        ("PatientName", "A", False),
    ],
)
def test_what_is_a_parameter(name, value, fits):
    assert acquisition.is_parameter(name, value) == fits
