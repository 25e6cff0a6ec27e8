"""Several scans at a time on one machine."""

import contextlib
import os
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import qc_jax
from qc_jax import cli, memory
from qc_jax.errors import OutputError
from qc_jax.scoring import group, jobs, local, study

GB = 2**30


@pytest.fixture(scope="module")
def scans(tmp_path_factory, head):
    folder = tmp_path_factory.mktemp("scans")
    for index in range(5):
        image = nib.Nifti1Image((1000 * head + index).astype(np.int16), np.diag([8.0, 8, 8, 1]))
        nib.save(image, folder / f"{index}.nii")
    (folder / "2.nii").write_bytes(b"")
    return sorted(folder.iterdir())


@pytest.fixture
def roomy(monkeypatch):
    """Two cores, though there be one, and memory for many scans."""
    monkeypatch.setattr(memory, "limit", lambda: 64 * GB)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)


def test_two_at_a_time_give_what_one_after_the_other_gives(
    scans, roomy, model_path, tmp_path, capfd
):
    options = ["--model", str(model_path), "--maps", "none"]
    for number in ("1", "9"):
        out = ["--output-dir", str(tmp_path / number), "--nprocs", number]
        assert cli.main(["score", *map(str, scans), *out, *options]) == 1
    one, two = (group.read_records(tmp_path / number) for number in ("1", "9"))
    assert [made["status"] for made in one].count("scored") == 4
    assert [(m["name"], m["status"], m.get("scores")) for m in one] == [
        (m["name"], m["status"], m.get("scores")) for m in two
    ]
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("2.nii is empty") == 2
    assert said.count("--nprocs 9: cores and memory are there for 2 at a time") == 1


def test_a_scan_larger_than_a_share_is_scored_when_nothing_else_is_in_memory(
    scans, roomy, model_path, tmp_path, monkeypatch
):
    monkeypatch.setattr(local, "need", lambda scan: (60 if scan.name == "3.nii" else 1) * GB)
    together, at_work, ended = {}, set(), []
    score, rest = local.Worker.score, local.Worker.rest

    def watched(self, job, *more):
        at_work.add(job.scan.name)
        together[job.scan.name] = set(at_work)
        try:
            return score(self, job, *more)
        finally:
            at_work.remove(job.scan.name)

    monkeypatch.setattr(local.Worker, "score", watched)
    monkeypatch.setattr(local.Worker, "rest", lambda self: (ended.append(set(at_work)), rest(self)))
    found = study.score_study(
        jobs.plain_jobs(scans),
        tmp_path,
        qc_jax.load_model(model_path),
        here=local.Here(2),
    )
    assert [made["status"] for made in found].count("scored") == 4
    assert together["3.nii"] == {"3.nii"}
    assert ended[:2] == [set(), set()]  # both processes, before it began


def test_what_cannot_be_written_ends_all_of_it(scans, roomy, model_path, tmp_path, monkeypatch):
    begun = []

    def full(self, job, *more):
        begun.append(job.name)
        if len(begun) > 1:
            raise OutputError("the disk is full")
        time.sleep(0.5)  # the other one is still at work when it is over
        return {"name": job.name, "status": "refused", "reason": ""}

    monkeypatch.setattr(local.Worker, "score", full)
    monkeypatch.setattr(local._Room, "shared", lambda self: contextlib.nullcontext())
    before = set(threading.enumerate())
    with pytest.raises(OutputError, match="the disk is full"):
        study.score_study(
            jobs.plain_jobs(scans), tmp_path, qc_jax.load_model(model_path), here=local.Here(2)
        )
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert len(begun) == 2  # nothing more


@pytest.mark.parametrize(
    ("gigabytes", "cores", "expected"), [(64, 8, 5), (64, 3, 3), (4, 8, 3), (0.5, 8, 1)]
)
def test_as_many_as_fit(scans, monkeypatch, gigabytes, cores, expected):
    monkeypatch.setattr(memory, "limit", lambda: gigabytes * GB)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    assert local.fitting(9, jobs.plain_jobs(scans)) == expected


def test_the_need_grows_with_the_voxels_and_is_guessed_without_a_header(tmp_path, scans):
    large = nib.Nifti1Image(np.zeros((400, 400, 400), np.uint8), np.eye(4))
    nib.save(large, tmp_path / "large.nii")
    assert local.need(scans[0]) < local.need(scans[2]) < local.need(tmp_path / "large.nii")
    assert local.need(Path("missing.nii")) == local.need(scans[2])
