"""What was measured of heads is kept, so that a program that was cut goes on where it stopped."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qc_jax import data, files
from qc_jax.errors import ConfigError

Arrays = TypeVar("Arrays")
"""A named tuple of arrays."""


def folder_for(parent: Path, subjects: Sequence[data.Subject], *known_by: Any) -> Path:
    """A folder for what these heads and all else in `known_by` determine, that of others apart."""
    heads = [subject.digest() for subject in subjects]
    text = repr([*known_by, *heads])
    folder = parent / hashlib.sha256(text.encode()).hexdigest()[:16]
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_or_make(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What `make` returned, made of lists, dictionaries, texts and numbers, now or before.

    Raises:
      ConfigError: what was kept is damaged.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        files.write_json(path, make())
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged ({error}); remove it to have it made again"
        ) from error


def arrays_or_make(path: Path, form: Callable[..., Arrays], make: Callable[[], Arrays]) -> Arrays:
    """As `load_or_make`, of a named tuple of arrays in an .npz file."""
    if not path.exists():
        with files.writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, functools.partial(_save, make()))
    with np.load(path) as arrays:
        return form(**arrays)


def _save(found: Any, path: Path) -> None:
    np.savez(path, **found._asdict())
