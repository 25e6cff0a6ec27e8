"""Arrays that are dear to make, kept beside a checksum."""

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from qc_jax import files
from qc_jax.errors import OutputError


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
    """The folder of this user's own: `QC_JAX_CACHE`, or `qc_jax` in the user's cache folder.

    What is compiled there is run, so that nobody else may write to it.  Where others can, as below
    /tmp or in a folder of somebody else's, it is `user-<number>` within, with mode 700.

    Raises:
      OutputError: it cannot be made, or is another user's.
    """
    folder = Path(os.environ.get("QC_JAX_CACHE") or _user_cache() / "qc_jax")
    for chosen in (folder, folder / f"user-{os.getuid()}"):
        with files.writing(chosen):
            chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = chosen.stat()
        if status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022:
            return chosen
    raise OutputError(
        f"{chosen} can be written by others; set QC_JAX_CACHE to a folder of your own"
    )


def _user_cache() -> Path:
    """Of the user, or the one for temporary files where there is no home."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a number without a name, as in a container
        return Path(tempfile.gettempdir())


def use_compilation_cache() -> None:
    """What has been compiled once need not be again, by the next call or by the next stage; a
    warning where there is no place for it."""
    try:
        folder = default_folder()
    except OutputError as error:
        warnings.warn(f"what is compiled is not kept: {error}", stacklevel=2)
    else:
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
