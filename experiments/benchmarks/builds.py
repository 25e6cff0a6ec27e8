"""A scan from its file to its report, against another build of qc_jax in an environment of its own:

    git archive d843ce4 | tar x -C OLD && python3 -m venv ENV && ENV/bin/pip install OLD
    python -m experiments.benchmarks.builds ENV/bin/python

Both score copies of the MNI152 template in turn, with the weights that each brings.
"""

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from nilearn.datasets import load_mni152_template

from qc_jax import files

_COPIES = 3
"""Scans of a call; the first one compiles, or loads what was compiled."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Scores scans with this build and another one in turn, and compares."""

    python: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PYTHON")]
    """Of the environment with the other build."""
    resolution: int = 1
    """Of the template, in mm."""
    repeats: int = 3
    """Calls of each build, after one that fills its compilation cache."""
    output: Path = Path("runs/benchmarks/builds.json")
    """File for the figures."""


Build = tuple[Path, dict[str, str]]
"""The Python of its environment, and the variables of that environment."""


class Call(NamedTuple):
    """What one call took.

    Attributes:
      scan: seconds of a scan that compiles nothing.
      scan_cpu: as `scan`, of the cores together, the share of start and first scan taken away.
      call: seconds of the call.
      megabytes: of the output of a scan, the viewer of all reports left out.
    """

    scan: float
    scan_cpu: float
    call: float
    megabytes: float


def main() -> int:
    """Returns the exit code."""
    arguments = tyro.cli(Arguments, prog="python -m experiments.benchmarks.builds")
    # Where this build is found by the path of modules, the other one shall not be.
    apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    builds = {
        "ours": (Path(sys.executable), dict(os.environ)),
        "other": (arguments.python.absolute(), apart),
    }
    calls: dict[str, list[Call]] = {name: [] for name in builds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = [folder / f"scan_{i}.nii.gz" for i in range(_COPIES)]
        for scan in scans:
            load_mni152_template(resolution=arguments.resolution).to_filename(scan)
        for repeat in range(1 + arguments.repeats):
            for who, build in builds.items():
                call = _measure(build, scans, folder / who)
                if repeat:
                    calls[who].append(call)
    medians = {who: Call(*np.median(found, axis=0).tolist()) for who, found in calls.items()}
    for field in Call._fields:
        ours, other = (getattr(medians[who], field) for who in builds)
        print(f"{field}: {ours:.2f}, the other build {other:.2f}, ratio {other / ours:.2f}")
    files.write_json(
        arguments.output, {who: [c._asdict() for c in found] for who, found in calls.items()}
    )
    return 0


def _measure(build: Build, scans: Sequence[Path], folder: Path) -> Call:
    """Of a build, with an output folder that is emptied and a compilation cache that is kept."""
    _, alone = _score(build, scans[:1], folder)
    call, together = _score(build, scans, folder)
    written = [json.loads(path.read_text()) for path in (folder / "out").glob("*/scan_*.json")]
    records = [content for content in written if "seconds" in content]  # no sidecars of maps
    assert len(records) == len(scans), f"{build[0]} has scored {len(records)} scans"
    each = sorted(sum(record["seconds"].values()) for record in records)
    size = sum(path.stat().st_size for path in (folder / "out").rglob("scan_*") if path.is_file())
    return Call(
        float(np.mean(each[:-1])),
        (together - alone) / (len(scans) - 1),
        call,
        size / len(scans) / 1e6,
    )


def _score(build: Build, scans: Sequence[Path], folder: Path) -> tuple[float, float]:
    """Seconds of a call, and those of all cores."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    before, begun = _cpu(), time.monotonic()
    subprocess.run(
        [build[0], "-P", "-m", "qc_jax.cli", "score", *scans, "--output-dir", folder / "out"],
        env=build[1] | {"QC_JAX_CACHE": str(folder / "cache")},
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - begun, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
