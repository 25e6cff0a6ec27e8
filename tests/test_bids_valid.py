"""The outputs before the validator of BIDS itself, as a data set and within that of the scans."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qc_jax import cli
from qc_jax.scoring import outputs

UNDESCRIBED = "TSV_ADDITIONAL_COLUMNS_UNDEFINED"
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory, head, model_path):
    """Two people, two contrasts, headers without a unit; outputs below it, rated and summarised."""
    root = tmp_path_factory.mktemp("valid")
    stored = np.rint(1000 * head).astype(np.int16)
    for name in ("sub-01_T1w", "sub-02_T1w", "sub-02_T2w"):
        path = root / name.partition("_")[0] / "anat" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(stored, np.diag([8.0, 8, 8, 1]))
        if name != "sub-01_T1w":
            image.header.set_xyzt_units("mm")
        nib.save(image, path)
    about = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    output = root / "derivatives" / "qc_jax"
    where = [str(root), str(output)]
    options = ["--suffix", "T1w", "T2w", "--model", str(model_path)]
    assert cli.main([*where, "participant", *options]) == 0
    (output / "ratings").mkdir()
    (output / "ratings" / "ratings_a.tsv").write_text("name\trating\nsub-01_T1w\tkeep\n")
    assert cli.main([*where, "group"]) == 0
    return root


def issues_of(folder):
    command = [str(VALIDATOR), str(folder), "--format", "json"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert issues, said.stderr  # it has looked: no data set is without a hint
    return issues


def problems(folder):
    """Errors by code and file."""
    return [(i["code"], i.get("location")) for i in issues_of(folder) if i["severity"] == "error"]


def remarks(folder):
    """Codes of all that is said."""
    return {issue["code"] for issue in issues_of(folder)}


def test_the_outputs_are_a_valid_derivative(data_set):
    assert problems(data_set / "derivatives" / "qc_jax") == []


def test_raw_data_with_the_outputs_below_stay_valid(data_set):
    """With --recursive the validator takes no .bidsignore but that of the raw data."""
    assert problems(data_set) == []


def test_tables_of_scans_that_were_taken_over_are_valid(data_set, tmp_path):
    raw = shutil.copytree(data_set, tmp_path / "raw")
    (raw / "sub-01" / "sub-01_scans.tsv").write_text(
        "filename\tacq_time\nanat/sub-01_T1w.nii.gz\t2020-01-01T00:00:00\n"
    )
    made, output = tmp_path / "made", raw / "derivatives" / "qc_jax"
    assert cli.main([str(raw), str(output), "group", "--scans-dir", str(made)]) == 0
    assert "qcjax_decision" not in (raw / "sub-01" / "sub-01_scans.tsv").read_text()
    shutil.copytree(made, raw, dirs_exist_ok=True)
    assert "2020-01-01" in (raw / "sub-01" / "sub-01_scans.tsv").read_text()
    assert "sub-02_T2w" in (raw / "sub-02" / "sub-02_scans.tsv").read_text()
    assert problems(raw) == [] and UNDESCRIBED not in remarks(raw)
    (raw / "scans.json").unlink()  # nor does it pass over what these tables hold
    assert UNDESCRIBED in remarks(raw)


def test_the_validator_sees_what_is_wrong(data_set, tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "anat" / "T1.nii.gz").write_bytes(b"")
    assert problems(tmp_path)


def test_maps_say_where_they_come_from_and_in_what_unit(data_set):
    output = data_set / "derivatives" / "qc_jax"
    about = json.loads((output / "dataset_description.json").read_text())
    assert about["DatasetLinks"] == {"raw": "../.."} and about["License"] == "CC0"
    mask = output / "sub-01" / "anat" / "sub-01_label-GM_mask.nii.gz"
    assert nib.load(mask).header.get_xyzt_units()[0] == "mm"
    sidecar = json.loads((mask.parent / "sub-01_label-GM_mask.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]


def test_what_people_ignore_stays_ignored(tmp_path):
    (tmp_path / ".bidsignore").write_text("mine\n")
    outputs.claim(tmp_path)
    outputs.refer_to(tmp_path, tmp_path.parent / "raw")
    assert (tmp_path / ".bidsignore").read_text() == "mine\n"
    about = json.loads((tmp_path / "dataset_description.json").read_text())
    assert about["DatasetLinks"]["raw"] == (tmp_path.parent / "raw").resolve().as_uri()
