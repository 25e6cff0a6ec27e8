"""The command `qc-jax` from scan to report, on small heads and an untrained network."""

import csv
import json
import os
import re
import subprocess
import sys
from typing import get_type_hints
from unittest import mock

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import qc_jax
from qc_jax import augment, cli, commands, devices
from qc_jax.scoring import group, jobs
from qc_jax.scoring.record_fields import Refused, Scored
from qc_jax.scoring.wanted import Wanted

AFFINE = np.array([[-8.0, 0, 0, 90], [0, 0, 8, -110], [0, 8, 0, -70], [0, 0, 0, 1]])
"""Left is the first axis reversed, and the other two are exchanged."""


def save(path, head, affine=AFFINE, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.rint(1000 * head[::-1].swapaxes(1, 2)).astype(dtype)
    nib.save(nib.Nifti1Image(stored, affine), path)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory, head, model_path):
    """A BIDS folder with a bad scan among good ones, scored at both levels."""
    folder = tmp_path_factory.mktemp("study")
    for subject, session in (("01", "1"), ("01", "2"), ("02", "1")):
        name = f"sub-{subject}_ses-{session}"
        save(folder / f"bids/sub-{subject}/ses-{session}/anat/{name}_T1w.nii.gz", head)
    save(folder / "bids/sub-03/anat/sub-03_run-1_T1w.nii.gz", head)
    save(folder / "bids/sub-03/anat/sub-03_T2w.nii.gz", head)
    bad = folder / "bids/sub-04/anat/sub-04_T1w.nii.gz"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"<html>")
    where = [str(folder / "bids"), str(folder / "out")]
    codes = [
        cli.main([*where, level, *options])
        for level, options in (("participant", ["--model", str(model_path)]), ("group", []))
    ]
    return folder, codes


def test_exit_codes_say_that_one_was_refused(study):
    assert study[1] == [1, 0]


def test_every_scan_has_one_record(study):
    records = group.read_records(study[0] / "out")
    names = ["sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_ses-1_T1w", "sub-03_run-1_T1w"]
    assert [r["name"] for r in records] == [*names, "sub-04_T1w"]
    assert [r["status"] for r in records] == ["scored"] * 4 + ["refused"]
    assert "no NIfTI" in records[-1]["reason"] and "scores" not in records[-1]
    # The same head gives the same scores, whoever it belongs to.
    assert records[0]["scores"] == records[2]["scores"]


def test_every_field_of_a_record_has_a_type(study):
    for record in group.read_records(study[0] / "out"):
        kind = Scored if record["status"] == "scored" else Refused
        assert kind.__required_keys__ <= set(record) <= set(get_type_hints(kind))


def test_maps_lie_on_the_grid_of_the_scan(study):
    anat = study[0] / "out/sub-01/ses-1/anat"
    scan = nib.load(study[0] / "bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    paths = sorted(anat.glob("*.nii.gz"))
    assert len(paths) == 2 + 7 + 2
    for path in paths:
        image = nib.load(path)
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-6)
        assert np.isfinite(image.get_fdata()).all() and image.get_fdata().min() >= -1e-6
        sidecar = json.loads(path.with_name(path.name[:-7] + ".json").read_text())
        assert {"Description", "Units", "ModelSHA256"} <= set(sidecar)
    total = nib.load(anat / "sub-01_ses-1_stat-variance_desc-total_statmap.nii.gz").get_fdata()
    parts = [p for p in paths if "_stat-variance_" in p.name and "desc-total" not in p.name]
    summed = sum(nib.load(path).get_fdata() for path in parts)
    np.testing.assert_allclose(summed, total, atol=1e-3 * total.max())


def test_table_with_its_dictionary(study):
    out = study[0] / "out"
    table = pd.read_csv(out / "group_T1w.tsv", sep="\t", dtype={"run": str})
    assert list(table["participant_id"]) == [f"sub-0{n}" for n in (1, 1, 2, 3, 4)]
    assert list(table["session_id"])[:3] == ["ses-1", "ses-2", "ses-1"] and table["run"][3] == "1"
    assert table["matrix"][0] == "24x24x30" and table["voxel_size_mm"][0] == "8x8x8"
    assert table["score_blur"].notna().sum() == 4 and pd.isna(table["score_blur"].iloc[-1])
    dictionary = json.loads((out / "group_T1w.json").read_text())
    assert set(dictionary) == set(table.columns)
    assert set(table["decision"]) <= {"keep", "look", "drop"} and table["decision"][4] == "look"
    records = group.read_records(out)
    assert [r.get("decision", "look") for r in records] == list(table["decision"])
    assert dictionary["score_blur"]["Units"] == "logits^2"
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_reports_link_to_each_other_and_need_no_network(study):
    out = study[0] / "out"
    page = (out / "group_T1w.html").read_text()
    for name in ("sub-01_ses-1_T1w", "sub-03_run-1_T1w"):
        assert f'href="{name}.html"' in page
        report = (out / f"{name}.html").read_text()
        assert "http://" not in report and "https://" not in report
        assert 'href="group_T1w.html"' in report
    assert not (out / "sub-04_T1w.html").exists() and "sub-04_T1w" in page
    assert (out / "qc_jax_assets/niivue.umd.js").stat().st_size > 1e6


def test_a_second_call_does_only_what_is_missing(study, model_path, head):
    folder, _ = study
    out = folder / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    gone = out / "sub-02/ses-1/anat/sub-02_ses-1_label-GM_mask.nii.gz"
    gone.unlink()
    code = cli.main([str(folder / "bids"), str(out), "participant", "--model", str(model_path)])
    assert code == 1 and gone.exists()
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    changed = {path.parent.parent.parent.name for path in before if before[path] != after[path]}
    assert changed == {"sub-02"}


def test_some_participants_only(study, model_path, tmp_path):
    code = cli.main(
        [
            *(str(study[0] / "bids"), str(tmp_path / "out"), "participant"),
            *("--participant-label", "01", "--session-id", "2", "--model", str(model_path)),
        ]
    )
    assert code == 0
    assert [r["name"] for r in group.read_records(tmp_path / "out")] == ["sub-01_ses-2_T1w"]


def test_other_contrasts_and_names_that_collide(head, model_path, tmp_path):
    bids_folder = tmp_path / "bids"
    for name in ("sub-03_T1w.nii", "sub-03_T1w.nii.gz", "sub-03_T2w.nii.gz", "sub-03_PDw.nii.gz"):
        save(bids_folder / "sub-03/anat" / name, head)
    where = [str(bids_folder), str(tmp_path / "out")]
    options = ["--suffix", "T1w", "T2w", "--model", str(model_path)]
    assert cli.main([*where, "participant", *options]) == 0
    records = group.read_records(tmp_path / "out")
    assert sorted(record["suffix"] for record in records) == ["T1w", "T1w", "T2w"]
    maps = [name for record in records for name in record["maps"].values()]
    assert len(set(maps)) == len(maps) == 3 * 11
    assert cli.main([*where, "group", "--iqm-dir", str(tmp_path / "iqms")]) == 0
    assert len(list((tmp_path / "iqms").rglob("*.json"))) == 3
    report = (tmp_path / "out/sub-03_T2w.html").read_text()
    assert 'href="group_T2w.html"' in report and (tmp_path / "out/group_T2w.html").exists()


def test_scores_do_not_depend_on_how_a_scan_is_stored(head, model_path, tmp_path):
    model = qc_jax.load_model(model_path)
    plain = nib.Nifti1Image(head, np.diag([8.0, 8, 8, 1]))
    reference = qc_jax.score(plain, model)
    for image in (
        nib.Nifti1Image(1e4 * head.astype(np.float64), plain.affine),
        nib.Nifti1Image(head[..., None], plain.affine),
        plain.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]])),
        plain.as_reoriented(np.array([[0, -1], [1, -1], [2, 1]])),
    ):
        found = qc_jax.score(image, model)
        for name, value in reference.scores.items():
            assert found.scores[name] == pytest.approx(value, rel=1e-3)
        assert found.volume == pytest.approx(reference.volume, rel=1e-3)
    stored = nib.Nifti1Image(np.rint(1000 * head).astype(np.int16), plain.affine)
    stored.header.set_slope_inter(2.0, 0.0)
    for name, value in qc_jax.score(stored, model).scores.items():
        assert reference.scores[name] == pytest.approx(value, rel=0.02)


def test_awkward_names_collide_nowhere_and_run_nothing(head, model_path, tmp_path):
    names = ["a.nii", "a.nii.gz", "b/a.nii", "=1+1.nii", "<img onerror=x>.nii", "-rf.nii", " ü.nii"]
    scans = [save(tmp_path / "in" / name, head) for name in names]
    named = jobs.plain_jobs([*scans, scans[0]])
    assert len(named) == len({job.name for job in named}) == len(names)
    out = tmp_path / "out"
    code = cli.main(
        ["score", *map(str, scans), "--output-dir", str(out), "--model", str(model_path)]
    )
    assert code == 0
    with (out / "group_T1w.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == len(names)
    assert not any(value.startswith("=") for row in rows for value in row.values())
    page = (out / "group_T1w.html").read_text()
    assert "<img onerror" not in page
    for job in named:
        assert (out / f"{job.name}.html").exists()
        assert "<img onerror" not in (out / f"{job.name}.html").read_text()


def test_preview(head, tmp_path):
    scan = save(tmp_path / "scan.nii.gz", head)
    options = ["--output-dir", str(tmp_path / "out"), "--voxel-size", "8"]
    assert cli.main(["preview", str(scan), *options]) == 0
    assert (tmp_path / "out").is_dir()
    (picture,), (page,) = (list((tmp_path / "out").glob(f"scan_*.{e}")) for e in ("png", "html"))
    text = page.read_text()
    assert picture.stat().st_size > 10_000 and picture.name in text
    # As it is, and five severities of each artefact in the words of the reports.
    assert text.count("<img") == 6 * len(augment.ALL_SOURCES)
    for word, times in (("mild", 2), ("moderate", 1), ("severe", 2)):
        assert text.count(f"<figcaption>{word}: ") == times * len(augment.ALL_SOURCES)


def test_maps_of_chosen_sources_only(head, model_path, tmp_path):
    scan = save(tmp_path / "scan.nii.gz", head)
    options = ["--output-dir", str(tmp_path / "out"), "--model", str(model_path), "--sources"]
    for chosen in (["blur"], ["blur", "noise"]):  # the second call adds what is missing
        assert cli.main(["score", str(scan), *options, *chosen]) == 0
        names = {
            re.sub("_[0-9a-f]{8}_", "_", p.name)
            for p in (tmp_path / "out").glob("scan_*/*variance*.nii.gz")
        }
        wanted = {f"scan_stat-variance_desc-{n}_statmap.nii.gz" for n in ("task", "total", *chosen)}
        assert names == wanted
    assert len(group.read_records(tmp_path / "out")[0]["scores"]) == 7
    assert cli.main(["score", str(scan), *options, "rain"]) == 2


def test_maps_of_the_cause_or_none(head, model_path, tmp_path):
    scan = save(tmp_path / "scan.nii.gz", head)
    options = ["--output-dir", str(tmp_path / "out"), "--model", str(model_path), "--maps"]
    for maps in ("none", "cause", "all"):  # each call adds what is missing
        assert cli.main(["score", str(scan), *options, maps]) == 0
        (record,) = group.read_records(tmp_path / "out")
        names = Wanted(tuple(record["severities"]), maps=maps).maps_of(record["named_causes"])
        assert set(names) == set(record["maps"])
        written = {path.name for path in (tmp_path / "out").rglob("*.nii.gz")}
        assert written == {path.rpartition("/")[2] for path in record["maps"].values()}


def test_models_are_listed(model_path, capsys):
    assert cli.main(["models", str(model_path)]) == 0
    listed = capsys.readouterr().out
    assert str(model_path) in listed and "blur" in listed


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["scan.nii"], 2, "give BIDS_DIR OUTPUT_DIR"),
        (["score"], 2, "no scan is given"),
        (["none", "out", "participant", "--model", "MODEL"], 2, "none is not a folder"),
        ([".", "out", "participant", "--model", "MODEL"], 2, "is it a BIDS folder"),
        (["score", "a.nii", "--model", "none.safetensors"], 3, "none.safetensors is missing"),
        (["score", "a.nii", "--output-dir", "file", "--model", "MODEL"], 4, "file is a file"),
        ([".", "empty", "group"], 2, "no scored scans"),
        ([".", ".", "group"], 4, "is the BIDS folder itself"),
        (["score", "a.nii", "--time-limit", "nan", "--model", "MODEL"], 2, "--time-limit nan"),
        (["score", "a.nii", "--time-limit", "0", "--model", "MODEL"], 2, "--time-limit 0"),
        (["score", "a.nii", "--memory-limit", "-1", "--model", "MODEL"], 2, "--memory-limit -1"),
        (["score", "a.nii", "--slurm-jobs", "0", "--model", "MODEL"], 2, "--slurm-jobs 0"),
        (["score", "a.nii", "--nprocs", "0", "--model", "MODEL"], 2, "--nprocs 0"),
        (["score", "a.nii", "--keep-dice", "85"], 2, "--keep-dice 85: a number from 0 to 1"),
        (["score", "a.nii", "--drop-dice", "0.9"], 2, "is above --keep-dice 0.87"),
        ([".", "empty", "group", "--keep-volume-error", "-1"], 2, "--keep-volume-error -1"),
        ([".", "out", "participant", "--may-lose", "0.1"], 2, "--may-lose is for the group level"),
        (["preview", "a.nii", "--voxel-size", "0"], 2, "--voxel-size 0"),
        (["preview", "a.nii", "--voxel-size", "nan"], 2, "--voxel-size nan"),
        (["preview", "a.nii", "--seed", "-1"], 2, "--seed -1"),
    ],
)
def test_wrong_usage(arguments, code, reason, model_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("file", "a.nii"):
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    assert cli.main([str(model_path) if a == "MODEL" else a for a in arguments]) == code
    message = capsys.readouterr().err
    assert reason in message and message.startswith("error: ") and message.count("\n") == 1


def test_what_nobody_foresaw_has_a_code_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(commands, "run", mock.Mock(side_effect=AssertionError("a\nb")))
    assert cli.main(["models"]) == 70
    message = capsys.readouterr().err
    assert message.startswith("error: unforeseen") and "AssertionError: a b" in message
    assert message.count("\n") == 1
    monkeypatch.setenv("QC_JAX_DEBUG", "1")
    assert cli.main(["models"]) == 70 and "Traceback" in capsys.readouterr().err


def test_without_a_folder_for_temporary_files(monkeypatch, tmp_path, capsys):
    (tmp_path / "a.nii").write_text("")
    monkeypatch.setattr(commands.tempfile, "gettempdir", mock.Mock(side_effect=FileNotFoundError))
    assert cli.main(["score", str(tmp_path / "a.nii")]) == 2
    assert "give a container one (--tmpfs /tmp)" in capsys.readouterr().err


def test_a_device_that_is_not_there(monkeypatch, tmp_path, capsys):
    (tmp_path / "a.nii").write_text("")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(devices.jax, "devices", mock.Mock(side_effect=AssertionError))
    assert cli.main(["score", str(tmp_path / "a.nii")]) == 2
    assert capsys.readouterr().err.startswith("error: JAX_PLATFORMS=cuda: jax finds no such device")


def test_json_lines_for_machines(head, model_path, tmp_path, capsys):
    scan = save(tmp_path / "scan.nii.gz", head)
    (tmp_path / "bad.nii").write_bytes(b"")
    scans = [str(scan), str(tmp_path / "bad.nii")]
    options = ["--output-dir", str(tmp_path / "out"), "--model", str(model_path), "--json"]
    assert cli.main(["score", *scans, *options]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["scored", "refused"]


def test_help_and_version_do_without_jax():
    code = (
        "import sys; from qc_jax import cli; cli.main(['--help']); cli.main(['--version']);"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert shown.returncode == 0, shown.stderr
    assert "participant" in shown.stdout and qc_jax.__version__ in shown.stdout


@pytest.mark.parametrize(
    "arguments", [["score", "--version"], ["bids", "out", "participant", "--version"]]
)
def test_the_version_is_said_wherever_it_is_asked_for(arguments, capsys):
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"qc_jax {qc_jax.__version__}\n"


@pytest.mark.parametrize("arguments", [["BIDS_DIR", "--help"], ["bids", "out", "group", "-h"]])
def test_the_help_names_every_folder_whatever_was_given(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "BIDS_DIR OUTPUT_DIR [{participant,group}]" in shown


def test_a_scan_that_is_not_there_is_said_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    for module in ("qc_jax.commands", "qc_jax.scoring"):
        monkeypatch.setitem(sys.modules, module, None)  # whose import would fail
    for command in ("score", "preview"):
        assert cli.main([command, str(tmp_path / "none.nii.gz")]) == 2
        assert f"{tmp_path / 'none.nii.gz'} does not exist" in capsys.readouterr().err


def test_scans_that_are_all_refused_have_their_page(model_path, tmp_path, capsys):
    (tmp_path / "bad.nii.gz").write_text("no scan")
    out = tmp_path / "out"
    arguments = ["score", str(tmp_path / "bad.nii.gz"), "--output-dir", str(out)]
    assert cli.main([*arguments, "--model", str(model_path)]) == 1
    assert "1 of 1 scans refused\n" in capsys.readouterr().err
    assert list(out.glob("group_*.html"))
