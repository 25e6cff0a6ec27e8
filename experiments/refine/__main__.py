"""`python -m experiments.refine`: a source head for a student, from scans as scanners make them."""

import dataclasses
import sys
from pathlib import Path

from experiments import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the source head of a student and calibrates it.

    Heads are scanned on grids of their own, spoilt in k-space and put through pipelines. The
    network below the head stays as it is, so that two CPU cores are enough: about a minute for each
    scanned head, and minutes for the training. Called again, it goes on where it stopped.
    """

    output: Path
    """The .safetensors file; a .json of the same name is written beside it."""
    labels: Path
    """Folder of label maps with FreeSurfer's numbers."""
    split: Path
    """JSON file that names the label maps of train, validation and test."""
    scans: tuple[Path, ...] = ()
    """Real scans without artefacts (NIfTI); one in four is for validation."""
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    draws: int = 160
    """Scanned heads to learn from, each clean, with each cause and with two."""
    validation_draws: int = 32
    """Scanned heads to calibrate on."""
    steps: int = 4000
    """Steps of the training; 0 to calibrate the source head that the model has."""
    processes: int = 1
    """Processes that scan heads at once, with 4 to 7 GB each."""
    seed: int = 1
    """Of everything random."""
    work_dir: Path = Path("runs/refine")
    """Folder for scans and what is seen of them: 60 MB for each draw at 2 mm."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(refine, Arguments, "experiments.refine", arguments, steps=(0, 10**9))


def refine(arguments: Arguments) -> None:
    """Scans, keeps features, trains, scores validation scans, writes weights and calibration."""
    from experiments.refine import runner  # slow to import

    runner.refine(arguments)


if __name__ == "__main__":
    sys.exit(main())
