"""`python -m experiments.run` before anything is trained: usage, help, the folder and its lock."""

import os
import re
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from experiments import limits, presets, run, run_folder
from qc_jax.errors import ConfigError
from tests.test_run import TINY, refused


def test_interrupt_has_its_own_exit_code(tmp_path, monkeypatch):
    def interrupt(path, record):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run_folder, "append_metrics", interrupt)
    assert run.main(["--stage=task", f"--run-dir={tmp_path}", *TINY]) == 130


def test_usage_that_cannot_work(capsys, tmp_path):
    folder = f"--run-dir={tmp_path / 'new'}"
    assert "choose from motion, spike" in refused(capsys, ["--sources=hum", folder])
    assert "multiple of 4" in refused(capsys, ["--patch", "24", "24", "23", folder])
    assert "larger than" in refused(capsys, ["--patch", "96", "96", "96", folder])
    assert "not a folder" in refused(capsys, [f"--data={tmp_path / 'none'}", folder])
    assert "not a folder" in refused(capsys, [f"--data=labels:{tmp_path / 'none'}", folder])
    assert "choose from demo" in refused(capsys, ["--preset=fast", folder])
    assert "no trained network" in refused(capsys, ["--stage=evaluate", folder, *TINY])
    for unknown in ("--stage=everything", "--learning_rat=1"):
        with pytest.raises(SystemExit) as error:
            run.main([unknown, folder])
        assert error.value.code == 2


def test_images_cannot_be_deformed(capsys, tmp_path):
    image = np.zeros((24, 30, 24), np.float32)
    image[6:18, 6:24, 6:18] = 1.0
    for name in "abc":
        for folder, volume in (("images", image), ("labels", image.astype(np.uint8))):
            path = tmp_path / "data" / folder / f"{name}.nii"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(volume, np.diag([8.0, 8.0, 8.0, 1.0])), path)
    arguments = [f"--data={tmp_path / 'data'}", f"--run-dir={tmp_path / 'new'}", *TINY]
    assert "use --deformation=0" in refused(capsys, [*arguments, "--deformation=1"])


def test_the_lock_of_a_dead_process_counts_for_nothing(tmp_path):
    code = "import sys, os, pathlib; from experiments import run_folder\n"
    code += "with run_folder.lock(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert dead.returncode == -signal.SIGKILL
    assert "process" in (tmp_path / "run.lock").read_text()
    with run_folder.lock(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / "run.lock").read_text()


def test_the_lock_of_another_machine_is_respected(tmp_path):
    (tmp_path / "run.lock").write_text("process 1 on elsewhere\n")
    with (
        pytest.raises(ConfigError, match="process 1 on elsewhere; if it no longer runs"),
        run_folder.lock(tmp_path),
    ):
        pass


def test_run_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run.main(["--stage=task", f"--run-dir={tmp_path / 'file' / 'run'}", *TINY]) == 4
    assert "cannot be written" in capsys.readouterr().err


def test_help_explains_every_field_and_needs_no_jax():
    code = (
        "import sys; from experiments import run\n"
        "try: run.main(['--help'])\n"
        "finally: assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    fields = limits.leaves(presets.Config())
    for *_, field in fields:
        assert re.search(rf"(--|\.){field.replace('_', '-')}[ ,]", done.stdout), field
    assert len(re.findall(r"\(default", done.stdout)) > len(fields)
    for group in ("heads", "sample", "network", "plateau", "teacher-loss", "student-loss"):
        assert f" {group} options " in done.stdout
