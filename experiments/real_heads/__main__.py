"""`python -m experiments.real_heads`: does a model know what is wrong with real scans?"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from experiments import command

_VERSIONS = (0, 1000)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Scores clean heads as they are and spoilt in known ways on their own grid; says whether the
    cause, the place, the harm and the volume are told rightly.

    A version of a head takes some seconds.  Kinds of a group take their turns over the heads, so
    that all of them come however few a head has.  Labels are 1 in grey matter, or FreeSurfer's
    numbers.  Called again, it goes on where it stopped.
    """

    scans: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...", help_behavior_hint="")]
    ]
    """NIfTI files of clean heads, or folders of them; NAME_label.nii.gz beside NAME.nii.gz gives
    the Dice as well."""
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    kinds: int = 5
    """Versions of each head with an artefact of a scanner, of which there are 10 kinds."""
    local: int = 2
    """Versions with damage to a part of the head, of which there are 5 kinds."""
    harmless: int = 3
    """Versions after a step of a pipeline that does no harm, of which there are 6 kinds."""
    uncovered: int = 2
    """Versions with damage that no source covers, of which there are 6 kinds."""
    torchio: int = 0
    """Versions by TorchIO, of which there are 40: four transforms at ten severities."""
    seed: int = 1
    """Of everything random."""
    markdown: Path | None = None
    """File for every figure as tables of Markdown."""
    output_dir: Path = Path("runs/real_heads")
    """Folder for real_heads.json and what is said of each version of a head."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    ranges = dict.fromkeys(("kinds", "local", "harmless", "uncovered", "torchio"), _VERSIONS)
    return command.call(run, Arguments, "experiments.real_heads", arguments, **ranges)


def run(arguments: Arguments) -> None:
    """Scores, writes `real_heads.json` and prints one table."""
    from experiments.real_heads import runner  # slow to import

    runner.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
