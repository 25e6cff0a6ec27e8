"""Measures us and the peers in turn: `python -m experiments.benchmarks [--only NAME] [--quick]`.

Needs `pip install -e '.[benchmark]'`.  Prints a table and writes `benchmarks.json`, and beside it
`speed.png`, `growth.json` and `growth.png`.
"""

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console
from rich.table import Table

from experiments import command
from qc_jax import files
from qc_jax.errors import ConfigError

Name = Literal["training_step", "convolutions", "augmentation", "whole_scan", "start_up", "growth"]
_MODULES = {"convolutions": "training_step"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares the speed of qc_jax with PyTorch, MONAI and TorchIO, in one run on this machine."""

    only: Name | None = None
    """One benchmark instead of all."""
    quick: bool = False
    """Fewer sizes and repeats."""
    output_dir: Path = Path("runs/benchmarks")
    """Folder for benchmarks.json and growth.json, and what is drawn of them."""


def main() -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.benchmarks", None)


def run(arguments: Arguments) -> None:
    """Measures, prints and writes."""
    try:
        importlib.import_module("torchio")
        importlib.import_module("monai")
    except ImportError as error:
        raise ConfigError(f"{error}; run pip install -e '.[benchmark]'") from error
    from experiments.benchmarks import draw, measure  # slow to import

    console = Console()
    limits = measure.roofline()
    console.print(
        f"this machine: matrix product {limits['matmul_gflops']:.0f} GFLOP/s, "
        f"copy {limits['copy_gbytes']:.1f} GB/s"
    )
    names = [arguments.only] if arguments.only else list(get_args(Name))
    records = []
    for name in names:
        module = importlib.import_module(f"experiments.benchmarks.{_MODULES.get(name, name)}")
        if name == "growth":
            _grow(module, arguments, console)
            continue
        table = Table("measured", "peer", "shapes", "ours, s", "peer, s", "ratio", title=name)
        with console.status(name):
            for record in getattr(module, name)(arguments.quick):
                records.append(dataclasses.asdict(record))
                table.add_row(
                    record.name,
                    record.peer,
                    record.shapes,
                    f"{record.ours_seconds:.4f}",
                    f"{record.peer_seconds:.4f}",
                    f"{record.ratio:.2f}",
                )
                for note, value in record.notes.items():
                    table.add_row(f"  {note}", "", "", f"{value:.1f}", "", "")
        console.print(table)
        # Written as it goes: a run that is stopped keeps what it has measured.
        files.write_json(arguments.output_dir / "benchmarks.json", records)
        draw.plot(arguments.output_dir / "speed.png", records)


def _grow(growth, arguments: Arguments, console) -> None:
    with console.status("growth"):
        curves = list(growth.growth(arguments.quick))
        memory = growth.memory_of_many_scans([1, 10] if arguments.quick else [1, 10, 100])
    for curve in curves:
        points = ", ".join(f"{n}: {s:.3f}" for n, s in zip(curve.sizes, curve.seconds, strict=True))
        console.print(f"{curve.name}: exponent {curve.exponent:.2f} (seconds, {points})")
    console.print(
        "peak memory over scans: " + ", ".join(f"{n}: {m:.0f} MB" for n, m in memory.items())
    )
    content = {"curves": [dataclasses.asdict(c) for c in curves], "memory_mb": memory}
    files.write_json(arguments.output_dir / "growth.json", content)
    growth.plot(arguments.output_dir / "growth.png", curves)


if __name__ == "__main__":
    sys.exit(main())
