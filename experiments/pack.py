"""`python -m experiments.pack`: heads in one small file, to train on another machine.

python -m experiments.pack labels:DIR --output=heads.npz
python -m experiments.pack labels:DIR --output=to_scan.npz --split=split.json --scans *.nii.gz
python -m experiments.recipe --data=packed:heads.npz --to-scan=to_scan.npz
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from experiments import command
from experiments.presets import PRESETS


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Packs heads into one file of at most 64 MiB: as tissue fractions on the grid of a model, or,
    with --split, those that are for training at 1 mm, with real scans, as they are to be scanned.
    """

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="labels:DIR")]
    """Label maps with FreeSurfer's numbers."""
    output: Path
    """The .npz file."""
    voxel_size: float = PRESETS["gpu"].heads.voxel_size
    """Edge of a voxel, in mm."""
    field_of_view: tuple[int, int, int] = PRESETS["gpu"].heads.field_of_view
    """Voxels of a whole scan."""
    split: Path | None = None
    """JSON file that names the label maps of train, validation and test: packs heads to scan, for
    which --voxel-size and --field-of-view do not count."""
    scans: tuple[Path, ...] = ()
    """Real scans without artefacts (NIfTI), with --split; one in four is for validation."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(pack, Arguments, "experiments.pack", arguments)


def pack(arguments: Arguments) -> None:
    """Reads the label maps, writes the file and says how large it is."""
    from experiments import packing  # slow to import

    packing.pack(arguments)


if __name__ == "__main__":
    sys.exit(main())
