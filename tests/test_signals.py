"""SIGTERM and Ctrl-C at any point of a run."""

import os
import signal

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
def test_the_first_signal_is_remembered_and_the_second_does_not_wait(number, code):
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.requested and signal.getsignal(number) == signal.SIG_DFL
        with pytest.raises(StoppedError, match="run the same command") as stopped:
            stop.check()
    assert stopped.value.exit_code == code and signal.getsignal(number) == before


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
