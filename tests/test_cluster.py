"""A study over a dask cluster with a scheduler and workers in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import qc_jax
from qc_jax import cli
from qc_jax.errors import ConfigError
from qc_jax.scoring import cluster, group
from tests import studies

SCANS = 8


def dask(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Address of a scheduler with two workers, and their processes."""
    folder = tmp_path_factory.mktemp("dask")
    where = folder / "scheduler.json"
    options = ("--scheduler-file", where, "--no-dashboard")
    processes = [dask("scheduler", "--port", 0, "--host", "127.0.0.1", *options)]
    while not where.exists():
        assert processes[0].poll() is None
        time.sleep(0.1)
    local = ("--nthreads", 1, "--no-nanny", "--local-directory", folder, "--no-dashboard")
    processes += [dask("worker", "--scheduler-file", where, *local) for _ in range(2)]
    yield json.loads(where.read_text())["address"], processes[1:]
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def bids(tmp_path_factory, head):
    return studies.write(tmp_path_factory.mktemp("bids"), head, SCANS, damaged={3})


def run(bids, out, model_path, address) -> int:
    options = ["--model", str(model_path), "--scheduler", f"dask:{address}"]
    return cli.main([str(bids), str(out), "participant", *options])


def test_a_cluster_gives_the_records_of_one_machine(workers, bids, model_path, tmp_path):
    assert run(bids, tmp_path / "out", model_path, workers[0]) == 1
    records = group.read_records(tmp_path / "out")
    assert [record["status"] for record in records].count("scored") == SCANS - 1
    assert records[3]["status"] == "refused" and "is empty" in records[3]["reason"]
    alone = [
        "score",
        str(bids / "sub-00/anat/sub-00_T1w.nii"),
        "--output-dir",
        str(tmp_path / "one"),
    ]
    assert cli.main([*alone, "--model", str(model_path)]) == 0
    assert group.read_records(tmp_path / "one")[0]["scores"] == records[0]["scores"]


def test_another_version_on_a_worker_is_refused(workers, bids, model_path, monkeypatch, capsys):
    monkeypatch.setattr(qc_jax, "__version__", "9.9")
    assert run(bids, bids / "out", model_path, workers[0]) == 2
    assert "install the same everywhere" in capsys.readouterr().err


def test_a_lost_worker_costs_no_record(workers, bids, model_path, tmp_path):
    """Last, since one worker is gone afterwards."""
    address, processes = workers
    done = subprocess.Popen(
        [
            *(sys.executable, "-m", "qc_jax.cli", str(bids), str(tmp_path / "out"), "participant"),
            *("--model", str(model_path), "--scheduler", f"dask:{address}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    while len(list((tmp_path / "out").glob("sub-*/anat/*_T1w.json"))) < 2:
        assert done.poll() is None
        time.sleep(0.02)
    os.kill(processes[0].pid, signal.SIGKILL)
    assert done.wait(timeout=120) == 1
    statuses = [record["status"] for record in group.read_records(tmp_path / "out")]
    assert statuses.count("scored") == SCANS - 1


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        ("kubernetes", "choose local, dask:ADDRESS or slurm"),
        ("dask:tcp://127.0.0.1:9", "no scheduler answers"),
    ],
)
def test_schedulers_that_are_none(scheduler, reason, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 2.0)
    with pytest.raises(ConfigError, match=reason), cluster.connect(scheduler, 1):
        pass
