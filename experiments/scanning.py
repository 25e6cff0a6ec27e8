"""Draws of scanned heads made by several processes, on processors beside an accelerator or alone.

The heads lie in one compressed .npz, from which a process reads one at a time.  A real scan is
rounded to the 12 bits of a scanner.
"""

import contextlib
import multiprocessing
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax
import numpy as np

from experiments import acquired
from experiments.acquired import Head
from qc_jax import files
from qc_jax.data import cache
from qc_jax.errors import ConfigError
from qc_jax.models import Description

_TURNS = "turns"
_LARGEST = 4095
"""Of 12 bits."""
_POLITE = 10
"""What the processes wait behind others, see nice(2)."""
_MALLOC = {name: str(2**34) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")}
"""For glibc, which gives every large array back to the system else: half of the time of a draw."""


def write_heads(path: Path, heads: Sequence[Head]) -> None:
    """Writes heads in their turns; one that comes twice is written once.

    Raises:
      OutputError: the file cannot be written.
    """
    arrays = {_TURNS: np.array([head.name for head in heads])}
    for head in {head.name: head for head in heads}.values():
        arrays[f"{head.name}/affine"] = head.affine
        if head.fractions is not None:
            arrays[f"{head.name}/fractions"] = np.moveaxis(head.fractions, -1, 0)
        else:
            assert head.image is not None, f"{head.name} has neither fractions nor an image"
            top = max(float(head.image.max()), float(np.finfo(np.float32).tiny))
            rounded = np.rint(head.image / top * _LARGEST)
            arrays[f"{head.name}/image"] = rounded.astype(np.uint16)
    files.write_whole(
        path, lambda partial: np.savez_compressed(partial, allow_pickle=False, **arrays)
    )


def turns_in(path: Path) -> list[str]:
    """Names of the heads, as they take turns.

    Raises:
      ConfigError: no file that `write_heads` wrote.
    """
    try:
        # numpy leaves a file open that is no whole archive.
        with path.open("rb") as file, np.load(file) as arrays:
            return arrays[_TURNS].tolist()
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(
            f"{path} holds no heads to scan ({error}); write it with python -m experiments.pack"
        ) from error


def read_head(path: Path, name: str) -> Head:
    """One head; a real scan from 0 to `_LARGEST`."""
    with np.load(path) as arrays:
        affine = arrays[f"{name}/affine"]
        if f"{name}/fractions" in arrays:
            fractions = np.moveaxis(arrays[f"{name}/fractions"], 0, -1).copy()
            return Head(name, fractions, None, affine)
        return Head(name, None, arrays[f"{name}/image"].astype(np.float32), affine)


@contextlib.contextmanager
def processes(
    path: Path, description: Description, seed: int, folder: Path, number: int, draws: int
) -> Iterator[Sequence[BaseProcess]]:
    """Within the block, that many processes make the draws that the folder lacks.

    Args:
      path: of the heads, which take turns.
      description: of a model whose grid the draws come to.
      seed: of everything random.
      folder: of the draws, see `acquired.kept_draw`.
      number: of processes.
      draws: of all processes together; numbers from 0 on.
    """
    context = multiprocessing.get_context("spawn")
    lacking = [n for n in range(draws) if not acquired.path_of(folder, n).exists()]
    shares = [lacking[first::number] for first in range(number)]
    started = [
        context.Process(target=_scan, args=(path, description, seed, folder, share), daemon=True)
        for share in shares
        if share
    ]
    before = {name: os.environ.get(name) for name in _MALLOC}
    os.environ.update(_MALLOC)
    try:
        for process in started:
            process.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()


def make(
    heads: Sequence[Head],
    description: Description,
    seed: int,
    folder: Path,
    number: int,
    draws: int,
    advance: Callable[[int], None],
) -> None:
    """Makes all draws, by that many processes; what was made before is kept.

    Args:
      heads: who take turns.
      description, seed, folder, number, draws: see `processes`.
      advance: called with how many there are, every so often.

    Raises:
      ConfigError: a process ended before its work was done.
    """
    path = folder / "heads.npz"
    if not path.exists():
        write_heads(path, heads)
    with processes(path, description, seed, folder, number, draws) as started:
        while any(process.is_alive() for process in started):
            time.sleep(PAUSE)
            advance(len(made(folder, draws)))
            check(started)  # the others need not end first
        check(started)
        advance(len(made(folder, draws)))


def check(started: Sequence[BaseProcess]) -> None:
    """Raises ConfigError where a process has ended before its work was done."""
    failed = [process for process in started if process.exitcode not in (None, 0)]
    if failed:
        raise ConfigError(
            f"a process that scans heads ended with code {failed[0].exitcode}, -9 where memory ran "
            "short; what was scanned is kept: call again, with fewer --processes"
        )


def made(folder: Path, draws: int) -> list[int]:
    """Numbers of the draws that are there, of those below `draws`."""
    return [n for n in range(draws) if acquired.path_of(folder, n).exists()]


PAUSE = 0.5
"""Seconds between looks at what there is."""


def _scan(
    path: Path, description: Description, seed: int, folder: Path, numbers: list[int]
) -> None:
    os.nice(_POLITE)
    jax.config.update("jax_platforms", "cpu")
    cache.use_compilation_cache()
    turns = turns_in(path)
    for number in numbers:
        head = read_head(path, turns[number % len(turns)])
        acquired.kept_draw([head], description, number, seed, folder)
        jax.clear_caches()  # every grid has its own programs, of 200 MB
