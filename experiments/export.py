"""`python -m experiments.export`: a trained student as weights to score with, well calibrated.

A run writes `student.safetensors` by itself, calibrated on few scans; this draws more of them.
"""

import dataclasses
import sys
from pathlib import Path

import tyro

from experiments import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Calibrates the student of a run on its validation subjects and writes its weights."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of a run whose student is trained."""
    output: Path
    """The .safetensors file; a .json of the same name is written beside it."""
    draws: int = 12
    """Contrasts of each validation subject, each clean and with every artefact."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(export, Arguments, "experiments.export", arguments)


def export(arguments: Arguments) -> None:
    """Reads the run, scores validation scans, writes weights and calibration."""
    from experiments import weights  # slow to import

    weights.export(arguments.run_dir, arguments.output, arguments.draws)


if __name__ == "__main__":
    sys.exit(main())
