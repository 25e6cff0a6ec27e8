"""Scans that arrive while somebody watches."""

import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from qc_jax import cli
from qc_jax.errors import ConfigError
from qc_jax.scoring import group, incoming


@pytest.fixture
def scan(head):
    return nib.Nifti1Image((1000 * head).astype(np.int16), np.diag([8.0, 8, 8, 1])).to_bytes()


def test_a_scan_is_whole_when_it_stands_still_and_its_header_fits(tmp_path, scan):
    assert incoming.look(tmp_path) == {}
    (tmp_path / "notes.txt").write_text("nothing yet")
    assert incoming.look(tmp_path) == {}
    growing, short, whole = (tmp_path / f"{name}.nii" for name in ("growing", "short", "whole"))
    growing.write_bytes(scan[:5000])
    short.write_bytes(scan[:5000])
    whole.write_bytes(scan)
    before = incoming.look(tmp_path)
    assert set(before) == {growing, short, whole}
    growing.write_bytes(scan[:9000])
    now = incoming.look(tmp_path)
    assert incoming.whole(now, before) == [whole]
    growing.write_bytes(scan)
    last = incoming.look(tmp_path)
    assert incoming.whole(last, now) == [whole]
    assert incoming.whole(incoming.look(tmp_path), last) == [growing, whole]


def test_a_folder_of_dicom_files_is_whole_when_none_is_added(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"a")
    before = incoming.look(tmp_path)
    (series / "2.dcm").write_bytes(b"b")
    now = incoming.look(tmp_path)
    assert incoming.whole(now, before) == []
    assert incoming.whole(incoming.look(tmp_path), now) == [series]


def test_folders_that_cannot_be_watched(tmp_path, capsys):
    with pytest.raises(ConfigError, match="is no folder"):
        incoming.look(tmp_path / "none")
    (tmp_path / "sub-1").mkdir()
    (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(ConfigError, match="participant scores it"):
        incoming.look(tmp_path)
    assert cli.main(["watch", str(tmp_path), "--output-dir", str(tmp_path / "out")]) == 2
    assert "where scans arrive; name another folder" in capsys.readouterr().err
    other = ["--output-dir", str(tmp_path.parent / "out"), "--every", "0"]
    assert cli.main(["watch", str(tmp_path), *other]) == 2


def started(folder, out, model_path) -> subprocess.Popen:
    command = [sys.executable, "-m", "qc_jax.cli", "watch", folder, "--output-dir", out]
    return subprocess.Popen(
        [*command, "--model", model_path, "--maps", "none", "--every", "0.5"],
        stderr=subprocess.PIPE,
        text=True,
    )


def records(out) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in out.glob("*/*.json")}


def test_each_scan_gets_one_record_though_the_watcher_is_killed(tmp_path, scan, model_path):
    arriving, out = tmp_path / "arriving", tmp_path / "out"
    arriving.mkdir()
    (arriving / "first.nii").write_bytes(scan)
    (arriving / "bad.nii").write_bytes(b"")
    watcher = started(arriving, out, model_path)
    while len(records(out)) < 2:
        assert watcher.poll() is None
        time.sleep(0.1)
    (arriving / "second.nii").write_bytes(scan)
    os.kill(watcher.pid, signal.SIGKILL)
    watcher.communicate()
    before = records(out)
    watcher = started(arriving, out, model_path)
    while len(records(out)) < 3:
        assert watcher.poll() is None
        time.sleep(0.1)
    while len((out / "group_T1w.tsv").read_text().splitlines()) < 4:
        time.sleep(0.1)
    watcher.send_signal(signal.SIGTERM)
    errors = watcher.communicate()[1]
    assert watcher.returncode == 75 and "Traceback" not in errors
    assert before.items() <= records(out).items()
    statuses = [made["status"] for made in group.read_records(out)]
    assert sorted(statuses) == ["refused", "scored", "scored"]
