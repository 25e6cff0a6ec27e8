"""What becomes of a training that is killed, stopped, or finds its checkpoints damaged."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import build, run, train
from qc_jax.training import checkpoints

# fmt: off
TINY = (
    "--subjects", "15", "--voxel-size", "12", "--field-of-view", "16", "20", "16",
    "--patch", "8", "8", "8", "--depth", "2", "--base-features", "2", "--batch-size", "2",
    "--steps-task", "12", "--steps-teachers", "8", "--steps-student", "8", "--sources", "noise",
    "blur", "--checkpoint-every", "2", "--log-every", "1", "--evaluation-draws", "2",
    "--warm-up", "2",
)
# fmt: on
"""All three stages in a few seconds."""
_STRIKES = 2
"""The second hits a run that goes on where the first left it."""


def disturb(
    folder: Path, seeds: Sequence[int], number: signal.Signals, stage: str = "all"
) -> dict[str, Any]:
    """Trains, again and again struck by a signal at random moments, and to the end.

    Args:
      folder: for the runs.
      seeds: one run each.
      number: SIGKILL, or SIGTERM, after which the exit code has to be 75.
      stage: how far, `task` or `all`.

    Returns:
      `runs`, `signals` (that struck a run at work), `resumed` (runs that came to the end and whose
      weights of every stage are equal, to the bit, to those of a run that nobody disturbed), and
      `wrong` (exit codes that should not be).
    """
    for name in ("reference", "second"):  # which finds everything compiled, as the others will
        began = time.monotonic()
        if _train(folder / name, stage).wait():
            raise RuntimeError(f"the undisturbed run in {folder / name} failed")
        usual = time.monotonic() - began
    expected = _weights(folder / "reference")
    found: dict[str, Any] = {"runs": 0, "signals": 0, "resumed": 0, "wrong": []}
    for seed in seeds:
        rng, disturbed = np.random.default_rng(seed), folder / f"{number.name}{seed}"
        code, struck = None, 0
        while struck < _STRIKES:
            process, began = _train(disturbed, stage), time.monotonic()
            try:
                code = process.wait(rng.uniform(0.3, 0.95) * usual)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                code = process.wait()
                struck += 1
                allowed = {-signal.SIGKILL} if number == signal.SIGKILL else {0, 75, -number}
                if code not in allowed:
                    found["wrong"].append(f"seed {seed}: exit code {code}")
                continue
            if struck or code:
                break
            # The machine has become faster, and nobody disturbed this run.
            usual = min(usual, time.monotonic() - began)
            shutil.rmtree(disturbed)
        found["signals"] += struck
        if code:
            code = _train(disturbed, stage).wait()
        equal = code == 0 and jax.tree.all(
            jax.tree.map(np.array_equal, _weights(disturbed), expected)
        )
        found["resumed"] += equal
        found["runs"] += 1
        shutil.rmtree(disturbed)
    return found


def flip_bits(folder: Path, flips: int) -> dict[str, int]:
    """Flips one bit at a time in the files of a checkpoint.

    Args:
      folder: of a run of `TINY` whose task network is trained.
      flips: how many, at random places.

    Returns:
      `flips`, and `noticed` before anything is restored.
    """
    steps = sorted(path for path in (folder / "task").iterdir() if path.name.isdigit())
    files = [path for path in steps[-1].rglob("*") if path.is_file() and path.stat().st_size]
    weights = np.array([path.stat().st_size for path in files], float)
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(flips):
        path = files[rng.choice(len(files), p=weights / weights.sum())]
        content = path.read_bytes()
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        noticed += checkpoints.damage(steps[-1]) is not None
        path.write_bytes(content)
    if checkpoints.damage(steps[-1]):
        raise RuntimeError(f"{steps[-1]} was not restored")
    return {"flips": flips, "noticed": noticed}


def _train(folder: Path, stage: str) -> subprocess.Popen:
    """Starts a run, whose words nobody reads."""
    command = [sys.executable, "-m", "experiments.run", f"--stage={stage}", *TINY]
    return subprocess.Popen(
        [*command, f"--run-dir={folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _weights(folder: Path) -> dict[str, Any]:
    """The parameters of every stage that is trained."""
    config = run.parse([f"--run-dir={folder}", *TINY]).config
    return {
        stage.name: train.load_params(config, folder, stage, None)
        for stage in build.stages(config)
        if (folder / stage.name).is_dir()
    }
