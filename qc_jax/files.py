"""Whole files: each is written beside its place under a name of its own, synced and renamed.

So a reader, a second process that writes the same file, or a machine that loses its power finds the
old file or the new one, never half of one.
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qc_jax.errors import OutputError

_PARTIAL = ".qc_jax-"
"""What the name of a file begins with while it is written."""
_LEFT_OVER = 24 * 3600.0
"""Seconds after which a partial file is what a killed process left behind."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says in one sentence that a file cannot be written.

    Raises:
      OutputError: for every OSError within the block.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error})") from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Has a file written beside its place, syncs it and renames it.

    Args:
      path: of the file; its folder is made where it is missing.
      write: writes to the path that it is given, whose name ends as that of `path`.

    Raises:
      OutputError: it cannot be written.
    """
    ending = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    # Not the file's own name, which may be as long as the file system takes.
    partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}{ending}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(partial)
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """See `write_whole`."""
    write_whole(path, lambda partial: partial.write_bytes(content))


def write_text(path: Path, content: str) -> None:
    """As UTF-8, what is none escaped; see `write_whole`."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Indented, with a new line at the end; see `write_whole`."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file of somebody else says by name; empty where it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remove_left_over(folder: Path) -> None:
    """Removes partial files in a folder that processes killed a day ago or earlier left behind."""
    for path in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(OSError):  # another process was quicker
            if time.time() - path.stat().st_mtime > _LEFT_OVER:
                path.unlink()


def sha256(path: Path) -> str:
    """Of a file's bytes, as hexadecimal digits.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """A file, or the names in a folder, are on the disk afterwards."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
