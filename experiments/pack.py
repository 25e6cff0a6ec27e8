"""`python -m experiments.pack`: label maps in one small file, to train on another machine.

python -m experiments.pack labels:DIR --output=heads.npz
python -m experiments.recipe --data=packed:heads.npz
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from experiments import command
from experiments.presets import PRESETS
from qc_jax.errors import ConfigError

MOST = 64 * 2**20
"""Bytes of a file that is easily taken anywhere."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Packs heads as tissue fractions on the grid of a model into one file of at most 64 MiB."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="labels:DIR")]
    """Label maps with FreeSurfer's numbers."""
    output: Path
    """The .npz file."""
    voxel_size: float = PRESETS["gpu"].heads.voxel_size
    """Edge of a voxel, in mm."""
    field_of_view: tuple[int, int, int] = PRESETS["gpu"].heads.field_of_view
    """Voxels of a whole scan."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(pack, Arguments, "experiments.pack", arguments)


def pack(arguments: Arguments) -> None:
    """Reads the label maps, writes the file and says how large it is."""
    from qc_jax.data import cache, label_maps, packed

    grid = arguments.voxel_size, arguments.field_of_view
    if not arguments.data.startswith("labels:"):
        raise ConfigError(f"{arguments.data}: label maps are packed, give them as labels:DIR")
    folder = Path(arguments.data.removeprefix("labels:")).expanduser()
    heads = label_maps.load_label_maps(folder, *grid, cache.default_folder())
    packed.write_packed(arguments.output, heads, *grid)
    size = arguments.output.stat().st_size
    print(f"{arguments.output}: {len(heads)} heads, {size / 2**20:.1f} MiB")
    if size > MOST:
        raise ConfigError(
            f"{arguments.output} is larger than 64 MiB: use fewer label maps or a larger "
            "--voxel-size"
        )


if __name__ == "__main__":
    sys.exit(main())
