"""Scoring and training under a SLURM of two nodes that the tests start (`engines.slurm`)."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest

from experiments import build, run, train
from experiments.faults.training import TINY
from qc_jax.scoring import group
from tests import studies
from tests.engines import certificates
from tests.engines import slurm as engine

ROOT = Path(__file__).parent.parent
SCANS = 20
JOBQUEUE = """\
jobqueue:
  slurm:
    cores: 2
    processes: 1
    memory: 4GB
    walltime: "00:20:00"
    queue: normal
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(engine.missing()), reason=f"no SLURM: {engine.missing()}"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)  # munge's daemon is another user
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    with engine.cluster(folder) as cluster:
        yield cluster


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to submit from, with `qc-jax`, `python` and dask's configuration where jobs look."""
    programs = {"python": "", "qc-jax": " -m qc_jax.cli"}
    (tmp_path / "bin").mkdir()
    for name, module in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable}{module} "$@"\n')
        program.chmod(0o755)
    (tmp_path / "jobqueue.yaml").write_text(JOBQUEUE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:]]))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def bids(tmp_path_factory, head):
    return studies.write(tmp_path_factory.mktemp("bids"), head, SCANS)


def records(out) -> dict[Path, int]:
    """Every record there is, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("sub-*/anat/*_T1w.json")}


def scored(out) -> list[str]:
    return [made["name"] for made in group.read_records(out) if made["status"] == "scored"]


def wait_for(condition, goes_on=lambda: True, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and goes_on()
        time.sleep(0.2)


def asked_of_slurm(slurm, bids, model_path, **options) -> subprocess.Popen:
    return slurm.popen(
        *("qc-jax", bids, "out", "participant", "--model", model_path, "--maps", "none"),
        *("--scheduler", "slurm", "--slurm-jobs", "3"),
        stderr=subprocess.PIPE,
        **options,
    )


def test_slurm_gives_workers_and_the_terminal_is_quiet(slurm, place, bids, model_path):
    process = asked_of_slurm(slurm, bids, model_path)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert len(scored(place / "out")) == SCANS
    lines = " ".join(errors.split())
    assert "distributed" not in lines and "INFO" not in lines and "Warning" not in lines
    assert lines.count("_T1w: ") == SCANS  # a sentence for each scan


def test_the_workers_of_slurm_can_speak_tls(slurm, place, bids, model_path):
    certificates.make(place, place)
    secure = JOBQUEUE + '    protocol: "tls://"\n'
    (place / "jobqueue.yaml").write_text(secure)
    process = asked_of_slurm(slurm, bids, model_path)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert len(scored(place / "out")) == SCANS
    assert "Start worker at:    tls://" in "".join(p.read_text() for p in place.glob("slurm-*.out"))


def test_a_worker_that_slurm_takes_away_is_replaced(slurm, place, bids, model_path):
    process = asked_of_slurm(slurm, bids, model_path)
    wait_for(lambda: len(records(place / "out")) >= 2, lambda: process.poll() is None)
    slurm.run("scancel", "--user=root", "--name=dask-worker")  # as where the time is up for all
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert "was lost; what it had in hand goes to another" in " ".join(errors.split())
    assert len(scored(place / "out")) == SCANS


def submit_array(slurm, bids, model_path, *options, array="0-7") -> str:
    script = ROOT / "containers" / "score.slurm"
    arguments = [bids, "out", "--model", model_path, "--maps", "none"]
    return slurm.submit(f"--array={array}", "--mem=4G", *options, script, *arguments)


def processes_of(job: str) -> list[psutil.Process]:
    """Those of an array of jobs that score."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if process.environ().get("SLURM_ARRAY_JOB_ID") == job and "python" in process.name():
                found.append(process)
    return found


@pytest.mark.parametrize("array", ["0-7", "1-8", "5-19:2"])
def test_an_array_whose_jobs_all_begin_at_once(slurm, place, bids, model_path, array):
    job = submit_array(slurm, bids, model_path, array=array)
    assert slurm.wait(job) == ["COMPLETED"] * 8
    assert len(scored(place / "out")) == SCANS
    before = records(place / "out")
    assert slurm.wait(submit_array(slurm, bids, model_path)) == ["COMPLETED"] * 8
    assert records(place / "out") == before  # nothing twice


def test_an_array_with_gaps_says_so(slurm, place, bids, model_path):
    job = submit_array(slurm, bids, model_path, array="0,3,4")
    assert slurm.wait(job) == ["FAILED"] * 3
    said = [path.read_text() for path in place.glob("slurm-*.out")]
    assert all("would leave subjects out; send it whole, as --array=0-2" in text for text in said)


def test_what_the_time_limit_ended_is_finished_by_a_second_call(slurm, place, bids, model_path):
    job = submit_array(slurm, bids, model_path, "--time=1", array="0-0")
    wait_for(lambda: len(records(place / "out")) >= 2)
    for process in processes_of(job):  # it is slow from now on
        process.suspend()
    assert slurm.wait(job) == ["TIMEOUT"]
    before = records(place / "out")
    assert 2 <= len(before) < SCANS
    assert slurm.wait(submit_array(slurm, bids, model_path)) == ["COMPLETED"] * 8
    after = records(place / "out")
    assert len(scored(place / "out")) == SCANS and before.items() <= after.items()


@pytest.mark.parametrize(
    ("more", "memory", "state"),
    # The limit of the job is known, and kept; where that is not wanted, the system keeps it.
    [((), "450M", "COMPLETED"), (("--memory-limit", "8"), "250M", "OUT_OF_MEMORY")],
)
def test_what_lacked_memory_is_finished_by_a_second_call(
    slurm, place, bids, model_path, more, memory, state
):
    if not slurm.has_memory:
        pytest.skip("jobs cannot be held to their memory here: no cgroup of version 1 to write to")
    for index in range(3):
        shutil.copytree(bids / f"sub-{index:02}", place / "few" / f"sub-{index:02}")
    script = ROOT / "containers" / "score.slurm"
    arguments = ["few", "out", "--model", model_path, "--maps", "none"]
    small = slurm.submit("--array=0-0", f"--mem={memory}", script, *arguments, *more)
    assert slurm.wait(small) == [state]
    refused = [json.loads(path.read_text())["reason"] for path in records(place / "out")]
    expected = "memory runs out" if more else "GB of memory (--memory-limit)"
    assert all(expected in reason for reason in refused) and (more or len(refused) == 3)
    job = slurm.submit("--array=0-1", "--mem=4G", script, *arguments)
    assert slurm.wait(job) == ["COMPLETED"] * 2
    assert len(scored(place / "out")) == 3


SMALL = (*TINY, "--batch-size=1", "--depth=1", "--sources", "noise")


def weights(folder):
    config = run.parse([f"--run-dir={folder}", *SMALL]).config
    task = train.load_params(config, folder, build.stage_named(config, "task"), None)
    return task, train.load_params(config, folder, build.stage_named(config, "student"), None)


@pytest.mark.usefixtures("as_users_compile")
def test_a_training_over_two_nodes_survives_preemption_bit_by_bit(slurm, place):
    script = ROOT / "containers" / "train.slurm"
    options = ["--nodes=2", "--cpus-per-task=2", "--mem=4G", script, *SMALL]
    quiet = slurm.submit(*options, f"--run-dir={place / 'quiet'}")
    assert slurm.wait(quiet, 600) == ["COMPLETED"]
    struck = slurm.submit(*options, f"--run-dir={place / 'struck'}")
    wait_for(lambda: list((place / "struck" / "task").glob("[0-9]*")))
    slurm.run("scontrol", "requeue", struck)
    assert slurm.wait(struck, 600) == ["COMPLETED"]
    jax.tree.map(np.testing.assert_array_equal, weights(place / "struck"), weights(place / "quiet"))
    for name in ("quiet", "struck"):
        lines = (place / name / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines if '"task"' in line]
        assert steps == list(range(1, 13))
        assert "student" in json.loads((place / name / "summary.json").read_text())
