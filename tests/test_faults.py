"""The fault experiments, small; `python -m experiments.faults` runs them at length."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest

from experiments.faults import scoring, study, training


def test_every_bad_scan_is_refused_and_every_awkward_one_scored(head, model_path, tmp_path):
    found = scoring.score_corpus(tmp_path, head, model_path)
    assert found["wrong"] == [] and found["records_lost"] == 0 and found["exit_code"] == 1
    assert found["refused_rightly"] > 75 and found["scored_rightly"] > 65
    assert found["gigabytes"] < 2


@pytest.mark.slow
def test_what_surrounds_the_scans_of_a_study(head, model_path, tmp_path):
    found = study.try_situations(tmp_path, head, model_path)
    assert found["wrong"] == [] and found["situations"] > 40


@pytest.mark.slow
def test_many_scans_in_one_go(head, model_path, tmp_path):
    found = scoring.score_many(tmp_path, head, model_path, number=20, bad=4)
    assert (found["records"], found["refused"], found["exit_code"]) == (20, 4, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("as_users_compile")
def test_a_training_killed_at_random_moments_ends_with_the_same_weights(tmp_path):
    found = training.disturb(tmp_path, [0], signal.SIGKILL, stage="task")
    assert found["resumed"] == found["runs"] == 1 and found["signals"] > 0
    flips = training.flip_bits(tmp_path / "reference", 8)
    assert flips["noticed"] == flips["flips"] == 8


# -- Outside -----------------------------------------------------------------------------------


def call(arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, "-m", "qc_jax.cli", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def scan(tmp_path, head):
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image((1000 * head).astype(np.int16), np.diag([8.0, 8, 8, 1])), path)
    return path


def test_a_bare_environment_will_do(scan, model_path, tmp_path):
    """No HOME, no locale, no terminal, a compilation cache full of garbage."""
    compiled = tmp_path / "cache" / "compiled"
    compiled.mkdir(parents=True)
    for index in range(5):
        (compiled / f"jit_{index}-cache").write_bytes(b"garbage")
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C", "QC_JAX_CACHE": str(compiled.parent)}
    done = call(
        ["score", scan, "--output-dir", tmp_path / "out", "--model", model_path],
        tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "Traceback" not in done.stderr
        and len(list((tmp_path / "out").glob("scan_*/scan_*[0-9a-f].json"))) == 1
    )


def test_a_reader_that_goes_away_costs_no_record(scan, model_path, tmp_path):
    """As `| head -0` does: standard output is closed before the first record comes."""
    command = [sys.executable, "-m", "qc_jax.cli", "score", scan, "--json"]
    command += ["--output-dir", tmp_path / "out", "--model", model_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    _, errors = process.communicate()
    assert (
        "Traceback" not in errors
        and len(list((tmp_path / "out").glob("scan_*/scan_*[0-9a-f].json"))) == 1
    )


def test_paths_may_be_relative_and_odd(scan, model_path, tmp_path):
    odd = tmp_path / "a b" / "ü\n-x"
    odd.mkdir(parents=True)
    (odd / "link.nii").symlink_to(scan)
    done = call(["score", "link.nii", "--output-dir", "./out put", "--model", model_path], odd)
    assert done.returncode == 0, done.stderr
    assert len(list((odd / "out put").glob("link_*/link_*[0-9a-f].json"))) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_keeps_what_was_scored(number, code, head, model_path, tmp_path):
    scans = []
    for index in range(12):
        scans.append(tmp_path / f"{index}.nii")
        image = nib.Nifti1Image((1000 * head).astype(np.int16), np.diag([8.0, 8, 8, 1]))
        nib.save(image, scans[-1])
    options = ["--output-dir", tmp_path / "out", "--model", model_path]
    command = [sys.executable, "-m", "qc_jax.cli", "score", *map(str, [*scans, *options])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    records = lambda: list((tmp_path / "out").glob("*/*_[0-9a-f]*[0-9a-f].json"))  # noqa: E731
    while len([r for r in records() if r.stem == r.parent.name]) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    (worker,) = psutil.Process(process.pid).children()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in errors
    assert "what was scored is kept, run the same command to go on" in errors
    assert not psutil.wait_procs([worker], timeout=30)[1]
    assert 2 <= len([r for r in records() if r.stem == r.parent.name]) < 12
    assert call(["score", *scans, *options], tmp_path).returncode == 0


def test_the_scoring_process_ends_with_the_one_that_was_killed(scan, model_path, tmp_path):
    command = [sys.executable, "-m", "qc_jax.cli", "score", scan, "--output-dir", tmp_path / "out"]
    process = subprocess.Popen(
        [*map(str, command), "--model", str(model_path)], stderr=subprocess.DEVNULL
    )
    while not (children := psutil.Process(process.pid).children()):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_behind_an_output_stops_no_scoring(stream, scan, model_path, tmp_path):
    command = [sys.executable, "-m", "qc_jax.cli", "score", scan, "--json"]
    command += ["--output-dir", tmp_path / "out", "--model", model_path]
    with open("/dev/full", "w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run([*map(str, command)], text=True, check=False, **streams)
    assert done.returncode == 0 and len(list((tmp_path / "out").glob("scan_*/*_mask.nii.gz"))) == 1
    if stream == "stdout":
        assert "standard output took no more" in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_is_an_error_of_the_output(scan, model_path, tmp_path):
    """A limit on the size of a file stands for the disk."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
    code += "from qc_jax import cli; sys.exit(cli.main())"
    options = ["score", scan, "--output-dir", tmp_path / "out", "--model", model_path]
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "cannot be written (File too large)" in done.stderr and "Traceback" not in done.stderr
