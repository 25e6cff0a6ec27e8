"""Heads in one file, as tissue fractions on the grid of a model, to take to another machine.

A compressed .npz: `grid` holds the voxel size in mm and the voxels along x, y and z; each head
stands under its name as `(T - 1, X, Y, Z)` uint8 in units of 1/255, all tissues of
`augment.tissues` but the first, air, which is the rest.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qc_jax import files
from qc_jax.augment.tissues import TISSUES
from qc_jax.errors import ConfigError

_GRID = "grid"


def write_packed(
    path: Path,
    heads: Mapping[str, np.ndarray],
    voxel_size: float,
    field_of_view: tuple[int, int, int],
) -> None:
    """Writes heads `(X, Y, Z, T)` uint8 by name.

    Raises:
      ConfigError: a head has the name of the grid, or the file another ending than .npz.
      OutputError: the file cannot be written.
    """
    if path.suffix != ".npz":
        raise ConfigError(f"{path}: heads are packed into a .npz file; choose such a name")
    if _GRID in heads:
        raise ConfigError(f"a head cannot be called {_GRID} in a packed file; rename it")
    arrays: dict[str, Any] = {n: np.moveaxis(head, -1, 0)[1:] for n, head in heads.items()}
    arrays[_GRID] = np.array([voxel_size, *field_of_view], float)
    files.write_whole(path, lambda partial: np.savez_compressed(partial, **arrays))


def read_packed(
    path: Path, voxel_size: float, field_of_view: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Fractions `(X, Y, Z, T)` uint8 by name.

    Raises:
      ConfigError: not readable, or of another grid.
    """
    try:
        # numpy leaves a file open that is no whole archive.
        with path.open("rb") as file, np.load(file) as arrays:
            packed = {name: arrays[name] for name in arrays}
        grid = packed.pop(_GRID)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(
            f"{path} holds no packed heads ({error}); write it with python -m experiments.pack"
        ) from error
    if grid.tolist() != [voxel_size, *field_of_view]:
        found = " ".join(f"{n:g}" for n in grid[1:])
        raise ConfigError(
            f"{path} was packed with --voxel-size {grid[0]:g} and --field-of-view {found}; use "
            "these, or pack the label maps again"
        )
    wanted = (len(TISSUES) - 1, *field_of_view)
    for name, head in packed.items():
        if head.shape != wanted or head.dtype != np.uint8:
            raise ConfigError(
                f"{path}: {name} is {head.dtype} {head.shape} in the place of uint8 {wanted}; pack "
                "the label maps again"
            )
    return {name: _with_air(head) for name, head in sorted(packed.items())}


def _with_air(head: np.ndarray) -> np.ndarray:
    air = 255 - head.sum(axis=0, keepdims=True, dtype=np.int32)
    return np.moveaxis(np.concatenate([np.clip(air, 0, 255).astype(np.uint8), head]), 0, -1).copy()
