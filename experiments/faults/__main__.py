"""Prints what is promised beside what happened: `python -m experiments.faults`."""

import dataclasses
import sys
from typing import Annotated

import tyro

from experiments import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Bad scans, many scans, fuzzed headers, odd studies; kills, signals and flipped bits."""

    output: Annotated[str, tyro.conf.arg(metavar="FILE")] = "runs/faults.json"
    """Where the figures go."""
    scans: int = 200
    """Of the study that is scored in one go, a tenth of them bad."""
    kills: int = 20
    """Runs of a training that are killed, each up to twice at random moments."""
    stops: int = 8
    """Runs of a training that are stopped by SIGTERM."""
    scoring_kills: int = 8
    """Runs of the scorer that are killed."""
    flips: int = 64
    """Bits flipped in a checkpoint, one at a time."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 1 where a promise was broken."""
    return command.call(run, Arguments, "experiments.faults", arguments)


def run(arguments: Arguments) -> int:
    """Tries all of it, writes and prints what happened; 1 where a promise was broken."""
    from experiments.faults import runner  # slow to import

    return runner.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
