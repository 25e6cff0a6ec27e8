"""Scans that crash, hang or take too much: each costs one refused scan."""

import sys

import nibabel as nib
import numpy as np
import pytest

import qc_jax
from qc_jax.errors import CheckpointError
from qc_jax.scoring import jobs, local, study, worker
from qc_jax.scoring.wanted import Wanted

SCANS = ("good", "raises", "aborts", "killed", "hangs", "eats", "silent", "last")
"""What happens to each of them, see `WRECKED`."""

WRECKED = """
import os, signal, sys, time
from qc_jax.data import nifti
from qc_jax.scoring import worker

read = nifti.read_image

def wrecked(path):
    if path.stem == "raises": raise MemoryError("out of memory")
    if path.stem == "aborts": os.abort()
    if path.stem == "killed": os.kill(os.getpid(), signal.SIGKILL)
    if path.stem == "hangs": time.sleep(1000)
    if path.stem == "silent": sys.exit(3)
    if path.stem == "eats":
        eaten = []
        while True:
            eaten.append(bytearray(os.urandom(1 << 20) * 16)); time.sleep(0.01)
    print("a library that prints")
    return read(path)

nifti.read_image = wrecked
worker.main()
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory, head, model_path):
    """Eight scans, through a process that six of them wreck."""
    folder = tmp_path_factory.mktemp("wrecked")
    for name in SCANS:
        nib.save(nib.Nifti1Image(head, np.diag([8.0, 8, 8, 1])), folder / f"{name}.nii")
    scans = jobs.plain_jobs([folder / f"{name}.nii" for name in SCANS])
    shares = []
    found = study.score_study(
        scans,
        folder / "out",
        qc_jax.load_model(model_path),
        limits=worker.Limits(seconds=30.0, gigabytes=2.5),
        progress=lambda job, share: shares.append((job.name, share)),
        here=local.Here(command=[sys.executable, "-c", WRECKED]),
    )
    return dict(zip(SCANS, found, strict=True)), shares


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises", "MemoryError: out of memory"),
        ("aborts", "was ended by SIGABRT"),
        ("killed", "was ended by SIGKILL, as the system does where memory runs out"),
        ("hangs", "took more than 30 s"),
        ("eats", "took more than 2.5 GB of memory"),
        ("silent", "ended with exit code 3"),
    ],
)
def test_a_wrecked_scan_is_refused_and_says_why(records, name, reason):
    record = records[0][name]
    assert record["status"] == "refused" and "scores" not in record
    assert record["passing"]  # a next call tries it again
    assert f"{name}.nii could not be scored" in record["reason"] and reason in record["reason"]


def test_the_others_are_scored_alike(records):
    good, last = records[0]["good"], records[0]["last"]
    assert good["status"] == last["status"] == "scored"
    assert good["scores"] == last["scores"]


def test_progress_comes_window_by_window(records):
    shares = [share for name, share in records[1] if name.startswith("good")]
    assert len(shares) >= 2 and shares == sorted(shares) and shares[-1] == 1.0


def test_a_process_that_cannot_load_the_model(model_path, tmp_path):
    model = qc_jax.load_model(model_path)
    (job,) = jobs.plain_jobs([tmp_path / "a.nii"])
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with (
        worker.Worker(model, worker.Limits(), command) as process,
        pytest.raises(CheckpointError, match="loads it ended with exit code 3"),
    ):
        process.score(job, tmp_path, Wanted())
