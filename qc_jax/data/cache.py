"""Arrays that are dear to make, kept beside a checksum."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from qc_jax import files


def load_or_make(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in `path` (.npy), made and written where it is missing or damaged.

    Args:
      path: its name has to change with whatever the array depends on; `path.sha256` is beside it.
      make: returns the array.

    Raises:
      OutputError: the folder cannot be written.
    """
    checksum_path = path.with_suffix(".sha256")
    if path.exists() and checksum_path.exists():
        if files.sha256(path) == checksum_path.read_text(errors="replace"):
            return np.load(path)
        warnings.warn(f"{path} does not match its checksum and is made again", stacklevel=2)
    array = make()
    files.write_whole(path, lambda partial: np.save(partial, array))
    files.write_text(checksum_path, files.sha256(path))
    return array


def default_folder() -> Path:
    """`QC_JAX_CACHE`, or `qc_jax` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("QC_JAX_CACHE") or Path(base) / "qc_jax")


def use_compilation_cache() -> None:
    """What has been compiled once need not be again, by the next call or by the next stage."""
    jax.config.update("jax_compilation_cache_dir", str(default_folder() / "compiled"))
