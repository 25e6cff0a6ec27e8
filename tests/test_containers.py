"""The files for clusters and images, as far as they can be tried without either."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTAINERS = ROOT / "containers"


def test_the_lock_holds_every_dependency_at_one_version_with_its_hash():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        re.split("[>=]", name)[0]
        for name in (*project["dependencies"], *project["optional-dependencies"]["cluster"])
    }
    lock = (CONTAINERS / "requirements.txt").read_text()
    locked = re.findall(r"^([a-z0-9.-]+)==\S+ \\\n +--hash=", lock, re.MULTILINE)
    assert {name.lower().replace("_", "-") for name in wanted} <= set(locked)
    assert len(locked) == len(set(locked)) and "http" not in lock


@pytest.mark.parametrize("code", [0, 1, 4])
def test_an_array_of_jobs_takes_every_subject_once(tmp_path, code):
    for subject in "abcde":
        (tmp_path / "study with space" / f"sub-{subject}").mkdir(parents=True)
    command = tmp_path / "bin" / "qc-jax"
    command.parent.mkdir()
    command.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@"\nexit {code}\n')
    command.chmod(0o755)
    taken, array = [], {"COUNT": 3, "MIN": 5, "MAX": 9, "STEP": 2}  # --array=5-9:2
    for part in range(3):
        done = subprocess.run(
            ["bash", CONTAINERS / "score.slurm", tmp_path / "study with space", "out"],
            env={
                "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
                "SLURM_ARRAY_TASK_ID": str(5 + 2 * part),
                **{f"SLURM_ARRAY_TASK_{name}": str(n) for name, n in array.items()},
            },
            capture_output=True,
            text=True,
            check=False,
        )
        # Refused scans are no failure of the job, anything else is.
        assert done.returncode == (code if code > 1 else 0), done.stderr
        taken += [line for line in done.stdout.splitlines() if line.startswith("sub-")]
    assert sorted(taken) == [f"sub-{subject}" for subject in "abcde"]


def test_the_training_script_is_a_script():
    assert subprocess.run(["bash", "-n", CONTAINERS / "train.slurm"], check=False).returncode == 0
