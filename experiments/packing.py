"""Heads into one small file: tissue fractions on the grid of a model, or heads to be scanned."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments import acquired, scanning
from qc_jax.data import cache, label_maps, packed
from qc_jax.errors import ConfigError

if TYPE_CHECKING:
    from experiments.pack import Arguments

MOST = 64 * 2**20
"""Bytes of a file that is easily taken anywhere."""


def pack(arguments: "Arguments") -> None:
    """Reads the label maps, writes the file and says how large it is."""
    grid = arguments.voxel_size, arguments.field_of_view
    if not arguments.data.startswith("labels:"):
        raise ConfigError(f"{arguments.data}: label maps are packed, give them as labels:DIR")
    folder = Path(arguments.data.removeprefix("labels:")).expanduser()
    if arguments.split is not None:
        turns = acquired.groups(folder, arguments.split, arguments.scans)["train"]
        scanning.write_heads(arguments.output, turns)
        number = len({head.name for head in turns})
    elif arguments.scans:
        raise ConfigError("--scans are packed to be scanned; name the training heads with --split")
    else:
        heads = label_maps.load_label_maps(folder, *grid, cache.default_folder())
        packed.write_packed(arguments.output, heads, *grid)
        number = len(heads)
    size = arguments.output.stat().st_size
    print(f"{arguments.output}: {number} heads, {size / 2**20:.1f} MiB")
    if size > MOST:
        raise ConfigError(
            f"{arguments.output} is larger than 64 MiB: use fewer label maps or scans, or a "
            "larger --voxel-size"
        )
