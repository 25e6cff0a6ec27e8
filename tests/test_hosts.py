"""One training over two processes on this machine, each with a device of its own."""

import json
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import build, run, train
from experiments.faults.training import TINY


def run_on_two(folder, *arguments) -> list[tuple[int, str]]:
    """Exit code and standard error of each of the two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.run", f"--run-dir={folder}", *TINY]
    command += ["--batch-size=1", f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    processes = [
        subprocess.Popen(
            [*command, f"--process={i}", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    errors = [process.communicate()[1] for process in processes]
    return [(p.returncode, error) for p, error in zip(processes, errors, strict=True)]


JOINED = """
import os, signal, sys
from experiments import hosts, signals
with signals.stop_on_signal() as stop:
    hosts.join(sys.argv[1], 1, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    print(stop.requested)
"""


def test_a_signal_still_arrives_when_the_processes_have_joined():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", JOINED, address]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def weights(folder):
    config = run.parse([f"--run-dir={folder}", *TINY]).config
    return train.load_params(config, folder, build.stage_named(config, "task"), None)


@pytest.mark.slow
@pytest.mark.usefixtures("as_users_compile")
def test_two_processes_train_as_one_with_the_batch_of_both(tmp_path):
    ended = run_on_two(tmp_path / "two", "--stage=task")
    assert [code for code, _ in ended] == [0, 0], ended
    assert run.main(["--stage=task", f"--run-dir={tmp_path / 'one'}", *TINY]) == 0
    two, one = (weights(tmp_path / name) for name in ("two", "one"))
    for a, b in zip(jax.tree.leaves(two), jax.tree.leaves(one), strict=True):
        # Adam divides by the gradient's size: where that is rounding error alone, so is the step.
        assert np.mean(np.abs(a - b) > 1e-3) < 0.02
    text = (tmp_path / "two/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))  # written once


@pytest.mark.slow
@pytest.mark.usefixtures("as_users_compile")
def test_what_one_process_began_two_go_on_with_and_one_measures(tmp_path):
    alone = [f"--run-dir={tmp_path / 'run'}", *TINY, "--batch-size=1"]
    assert run.main(["--stage=task", *alone]) == 0
    shutil.rmtree(tmp_path / "run/task/12")  # as if it had been stopped before
    (tmp_path / "run/summary.json").unlink()
    ended = run_on_two(tmp_path / "run", "--stage=task")
    assert [code for code, _ in ended] == [0, 0], ended
    assert not (tmp_path / "run/summary.json").exists()
    assert run.main(["--stage=evaluate", *alone]) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["task"]["dice"] > 0


def test_measuring_is_for_one_process(tmp_path):
    assert run.main(["--stage=evaluate", "--coordinator=auto", f"--run-dir={tmp_path}"]) == 2
