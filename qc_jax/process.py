"""The process that scores, begun before that which asks it has loaded anything, so that both load
side by side."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-P", "-m", "qc_jax.scoring.worker")
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
"""One thread for the small matrix products of numpy: XLA has threads of its own, several maps are
made at a time, and threads of a third kind wait for each other longer than they work.  Memory that
is freed stays with the process: to have it cleared anew for every array takes a tenth of the time
of a scan."""


def begin(
    command: Sequence[str], model: str | Path, cores: Collection[int] = ()
) -> "subprocess.Popen[bytes]":
    """Begins `command` with a model as its last argument: a path, or nothing for the package's; on
    some of the cores, by their numbers, or on all."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [*command, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_ENVIRONMENT | os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for the process that asks, which ends this one
    )
    if cores:
        os.sched_setaffinity(process.pid, cores)  # long before it has other threads
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kills it, if it runs, and closes its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stdin):
        with contextlib.suppress(BrokenPipeError):  # what it never read is of no use
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def ahead(model: str | Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Begins the process for a `worker.Worker`, and ends it whether that took it or not."""
    process = begin(COMMAND, model)
    try:
        yield process
    finally:
        end(process)
