"""Scans scored on this machine, one after the other or several at a time.

Each of several processes has cores of its own and an equal share of the memory.  A scan that needs
more than a share waits until it has the machine to itself.
"""

import contextlib
import functools
import math
import os
import queue
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from qc_jax import memory
from qc_jax.models import Model
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.record_fields import Record
from qc_jax.scoring.wanted import Wanted
from qc_jax.scoring.worker import Limits, Worker

_OF_MEMORY = 0.75
"""Share of the memory that the processes may fill together."""
_BASE = 0.9 * 2**30
"""Bytes that a process takes for a small scan."""
_PER_VOXEL = 60
"""Bytes that each voxel of a scan takes besides."""
_TYPICAL = 256**3
"""Voxels of a scan whose header cannot be read quickly."""
_LOOKED_AT = 100
"""Scans whose size says how many fit at once."""


class Here(NamedTuple):
    """How this machine scores.

    Attributes:
      processes: scans at a time at most, see `fitting`.
      command, begun: see `Worker`.
      tell: takes a sentence where it is fewer.
    """

    processes: int = 1
    command: Sequence[str] = ()
    begun: Any = None
    tell: Callable[[str], None] = lambda text: None


def need(scan: Path) -> float:
    """Bytes of memory that a process takes at most while it scores a scan, by its header."""
    try:
        voxels = math.prod(nib.load(scan).shape[:3])  # type: ignore[attr-defined]
    except Exception:  # another format, or a scan that will be refused with a sentence
        voxels = _TYPICAL
    return _BASE + _PER_VOXEL * voxels


def fitting(processes: int, jobs: Sequence[Job]) -> int:
    """How many of so many processes there are cores for, and memory by the scans to come."""
    if processes == 1 or not jobs:
        return 1
    usual = statistics.median(need(job.scan) for job in jobs[:_LOOKED_AT])
    fit = int(_OF_MEMORY * memory.limit() / usual)
    return max(1, min(processes, len(os.sched_getaffinity(0)), len(jobs), fit))


def score_jobs(
    here: Here,
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    wanted: Wanted,
    limits: Limits,
    progress: Callable[[Job, float], None],
) -> Iterator[Record]:
    """Records as they come, one for each job; in their order where there is one process.

    Raises:
      CheckpointError, OutputError: see `Worker.score`.
    """
    processes = fitting(here.processes, jobs)
    if processes < min(here.processes, len(jobs)):
        fewer = f"cores and memory are there for {processes} at a time"
        here.tell(f"--nprocs {here.processes}: {fewer}")
    if processes == 1:
        with Worker(model, limits, here.command, here.begun) as worker:
            for job in jobs:
                yield worker.score(job, output, wanted, functools.partial(progress, job))
        return
    cores = np.array_split(sorted(os.sched_getaffinity(0)), processes)
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(model, limits, here.command, cores=part.tolist()))
            for part in cores
        ]
        score = functools.partial(_score, _Room(workers), output, wanted, progress)
        yield from _side_by_side(workers, jobs, score)


def _side_by_side(
    workers: Sequence[Worker], jobs: Sequence[Job], score: Callable[[Worker, Job], Record]
) -> Iterator[Record]:
    """What `score` makes of the jobs, a thread for each worker; its first exception is raised."""
    waiting, made = iter(jobs), queue.SimpleQueue[Record | BaseException]()
    one_at_a_time, over = threading.Lock(), threading.Event()

    def work(worker: Worker) -> None:
        while True:
            with one_at_a_time:
                job = None if over.is_set() else next(waiting, None)
            if job is None:
                return
            try:
                made.put(score(worker, job))
            except BaseException as error:  # raised where the records are waited for
                made.put(error)
                return

    for worker in workers:
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    try:
        for _ in jobs:
            result = made.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        over.set()


class _Room:
    """The memory of the machine, for several workers."""

    def __init__(self, workers: Sequence[Worker]):
        self._workers = workers
        self._share = _OF_MEMORY * memory.limit() / len(workers)
        self._changed = threading.Condition()
        self._at_work = 0
        self._alone = False
        self._compiled = False

    def large(self, job: Job) -> bool:
        """Whether a scan needs more than a worker's share."""
        return need(job.scan) > self._share

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Within the block a scan of usual size may be scored beside others.  The first one goes
        ahead until its network is compiled: the others find what it has compiled in the cache."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._alone and (self._compiled or self._at_work == 0)
            )
            self._at_work += 1
        try:
            yield
        finally:
            self.compiled()
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Within the block there is nothing else in memory: idle processes keep what they have had
        for their last scan, and are ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            self._changed.wait_for(lambda: self._at_work == 0)
            for worker in self._workers:
                worker.rest()
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def compiled(self) -> None:
        """The network has been compiled."""
        if not self._compiled:
            with self._changed:
                self._compiled = True
                self._changed.notify_all()


def _score(
    room: _Room,
    output: Path,
    wanted: Wanted,
    progress: Callable[[Job, float], None],
    worker: Worker,
    job: Job,
) -> Record:
    """The record of a scan, scored when there is room for it."""

    def share(done: float) -> None:
        room.compiled()
        progress(job, done)

    if not room.large(job):
        with room.shared():
            return worker.score(job, output, wanted, share)
    with room.whole():
        made = worker.score(job, output, wanted, share)
        worker.rest()
        return made
