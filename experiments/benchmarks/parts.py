"""Questions to the tables of a million scans: `python -m experiments.benchmarks.parts`.

A study of that size lies in parts, an output folder and a table each; polars reads of all tables
only what a question is about.
"""

import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import tyro

from experiments.benchmarks.study import generated
from qc_jax.scoring import group


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Writes so many tables of generated records, and asks them."""

    parts: int = 20
    """Tables."""
    scans: int = 50_000
    """Rows of each."""
    folder: str = ""
    """Of tables that are there already; made by default."""


QUESTIONS: dict[str, Callable[[pl.LazyFrame], pl.DataFrame]] = {
    "how many are kept, in each part": lambda scans: (
        scans.group_by("path", "decision").len().sort("path", "decision").collect()
    ),
    "the twenty with the lowest predicted Dice": lambda scans: (
        scans.filter(pl.col("status") == "scored").sort("predicted_dice").head(20).collect()
    ),
    "one scan by its name": lambda scans: scans.filter(
        pl.col("name") == "sub-012345_ses-2_T1w"
    ).collect(),
    "median score of noise, of those that are kept": lambda scans: (
        scans.filter(pl.col("decision") == "keep").select(pl.col("score_noise").median()).collect()
    ),
}


def main() -> int:
    """Returns the exit code."""
    arguments = tyro.cli(Arguments, prog="python -m experiments.benchmarks.parts")
    if arguments.folder:
        _ask(Path(arguments.folder))
        return 0
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for part in range(arguments.parts):
            first = part * arguments.scans
            made = [generated(rng, first + i, refused=i % 100 == 0) for i in range(arguments.scans)]
            path = Path(name) / f"part-{part:02}" / "group_T1w.parquet"
            path.parent.mkdir()
            group.table(made).write_parquet(path)
        # In a process of its own, whose memory is that of the questions.
        command = [sys.executable, "-m", "experiments.benchmarks.parts", f"--folder={name}"]
        return subprocess.run(command, check=False).returncode


def _ask(folder: Path) -> None:
    tables = sorted(folder.glob("*/group_T1w.parquet"))
    scans = pl.scan_parquet(tables, include_file_paths="path")
    size = sum(path.stat().st_size for path in tables) / 2**20
    rows = scans.select(pl.len()).collect().item()
    print(f"{rows} rows in {len(tables)} tables, {size:.0f} MB")
    for question, answer in QUESTIONS.items():
        begun = time.monotonic()
        found = answer(scans)
        print(f"{question}: {time.monotonic() - begun:.2f} s, {found.height} rows")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    sys.exit(main())
