"""SIGTERM and Ctrl-C at any point of a run."""

import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import build, evaluate, run, signals, train
from experiments.faults.training import TINY as TWO_LEVELS
from experiments.signals import StoppedError, stop_on_signal
from qc_jax import training
from qc_jax.training import checkpoints

TINY = (*TWO_LEVELS, "--depth", "1")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_is_remembered(number, code):
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(StoppedError, match="run the same command") as stopped:
            stop.check()
    assert stopped.value.exit_code == code and signal.getsignal(number) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_second_signal_ends_what_python_does_with_the_same_code(number, code):
    work = "from experiments.signals import stop_on_signal as s\nwith s():\n  print(1, flush=True)"
    command_line = [sys.executable, "-c", f"{work}\n  while True: pass"]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"
        process.send_signal(number)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=30) == code


def task_of(folder):
    config = run.parse([f"--run-dir={folder}", *TINY]).config
    return train.load_params(config, folder, build.stage_named(config, "task"), None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run.main(["--stage=task", f"--run-dir={folder}", *TINY]) == 0
    return task_of(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (training, "train_step"),  # which is compiled next
        (checkpoints, "save"),
        (train, "load_params"),  # between the stages
        (evaluate, "score_scans"),
    ],
)
def test_stopped_anywhere_and_called_again(undisturbed, tmp_path, monkeypatch, owner, name):
    work, to_send = getattr(owner, name), [signal.SIGTERM]

    def stopped_at_work(*arguments, **options):
        if to_send:
            os.kill(os.getpid(), to_send.pop())
        return work(*arguments, **options)

    arguments = ["--stage=task", f"--run-dir={tmp_path}", *TINY]
    monkeypatch.setattr(signals, "PATIENCE", 600.0)  # or it would end pytest on a slow machine
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopped_at_work)
        assert run.main(arguments) == 75
    assert run.main(arguments) == 0
    jax.tree.map(np.testing.assert_array_equal, task_of(tmp_path), undisturbed)
