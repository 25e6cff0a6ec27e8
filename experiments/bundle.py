"""A folder as a few files of limited size, for where neither large nor many files are taken along.

`bundle.tar.00`, `.01`, ... are one tar archive, cut; `cat bundle.tar.* | tar x -C DIR` unpacks it.
"""

import io
import tarfile
from pathlib import Path

from qc_jax import files

PART = 15 * 2**20
"""Bytes of a part at most."""
_LEFT_OUT = ("run.lock", "tensorboard", "draws", "features")
"""What is of use on that machine alone."""


def write_parts(folder: Path, output: Path, part: int = PART) -> list[Path]:
    """Packs what is in a run folder, in the place of earlier parts; returns the parts.

    Raises:
      OutputError: `output` cannot be written.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            if path.name not in _LEFT_OUT:
                archive.add(path, path.name, filter=lambda found: _last_only(folder, found))
    content = packed.getbuffer()
    written = []
    for number, start in enumerate(range(0, len(content), part)):
        written.append(output / f"bundle.tar.{number:02d}")
        files.write_bytes(written[-1], bytes(content[start : start + part]))
    for path in output.glob("bundle.tar.*"):
        if path not in written:
            path.unlink()
    return written


def _last_only(folder: Path, found: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out checkpoints that are not the last of their stage."""
    path = folder / found.name
    if not path.name.isdecimal():
        return found
    steps = [int(other.name) for other in path.parent.iterdir() if other.name.isdecimal()]
    return found if int(path.name) == max(steps) else None
