"""A study over the workers of a dask cluster: one that runs already, or SLURM's.

Every worker of the cluster keeps one scoring process (`worker.Worker`); scans, model and output
have to lie on a file system that all of them share.  Records come back to the process that asks,
which alone writes them.  Workers come and go while it lasts: a scan whose worker is lost goes to
another one, and a worker that is not fit for the work is sent home.
"""

import collections
import contextlib
import dataclasses
import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, NamedTuple

import qc_jax
from qc_jax.errors import CheckpointError, ConfigError, OutputError, QcJaxError, one_line
from qc_jax.models import DEFAULT, Model, load_model
from qc_jax.scoring import record
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.record import Contents
from qc_jax.scoring.record_fields import Record
from qc_jax.scoring.wanted import Wanted
from qc_jax.scoring.worker import Limits, Worker

_AHEAD = 2
"""Scans that are handed out for every thread of the cluster: enough that none waits."""
_PATIENCE = 20.0
"""Seconds within which a scheduler has to answer."""
_FIRST_WORKER = 60.0
"""Seconds within which a scheduler that runs has to have a worker."""
_LOOK_EVERY = 2.0
"""Seconds between two looks at who is there."""
_RETRIES = 2
"""Times that a scan whose worker failed is tried again."""
_UNFIT_AT_MOST = 20
"""Workers that are sent home before the study ends: SLURM may give one that does the same again."""
_ADVICE = {
    True: "squeue shows the jobs of dask-worker, and slurm-*.out why one ended",
    False: "start one: dask worker ADDRESS --nthreads 1",
}
"""What to do where no worker comes, by whether SLURM is asked for them."""


class Crew(NamedTuple):
    """The workers of a cluster.

    Attributes:
      client: dask's.
      tell: takes sentences on what happens to the workers.
      refill: asks for others in the place of those that were lost; None where nobody can be asked.
    """

    client: Any
    tell: Callable[[str], None] = lambda text: None
    refill: Callable[[], object] | None = None


class UnfitError(Exception):
    """On a worker: what it lacks."""


@contextlib.contextmanager
def connect(
    scheduler: str, workers: int, tell: Callable[[str], None] = lambda text: None
) -> Iterator[Crew | None]:
    """The workers of a cluster, or None for none.

    Args:
      scheduler: `local` for none, `dask:ADDRESS`, or `slurm`, whose queue, memory and cores come
        from dask's own configuration file (`jobqueue.slurm`).
      workers: jobs that SLURM is asked for.
      tell: see `Crew`.

    Raises:
      ConfigError: dask is not installed, the scheduler is unknown or does not answer.
    """
    if scheduler == "local":
        yield None
        return
    kind, _, address = scheduler.partition(":")
    if bool(address) != (kind == "dask") or kind not in ("dask", "slurm"):
        raise ConfigError(
            f"--scheduler={scheduler} is unknown; choose local, dask:ADDRESS or slurm"
        )
    try:
        import dask.distributed as distributed

        if kind == "slurm":
            import dask_jobqueue
    except ImportError as error:
        raise ConfigError(
            f"--scheduler={scheduler} needs dask: pip install 'qc_jax[cluster]'"
        ) from error
    _be_quiet()
    with contextlib.ExitStack() as stack:
        refill = None
        if kind == "slurm":
            address = stack.enter_context(_of_slurm(dask_jobqueue))
            refill = functools.partial(address.scale, jobs=workers)
            refill()
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_PATIENCE))
        except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two: of TLS
            told = "; ~/.config/dask/distributed.yaml has to name a certificate"
            raise ConfigError(
                f"no scheduler answers at {address} ({one_line(error)})"
                + (told if str(address).startswith("tls:") else "")
            ) from error
        yield Crew(client, tell, refill)


def _of_slurm(dask_jobqueue: Any) -> Any:
    """A scheduler whose workers are jobs of SLURM."""
    try:
        return dask_jobqueue.SLURMCluster()
    except ValueError as error:
        raise ConfigError(
            f"--scheduler=slurm: {error} (set them in ~/.config/dask/jobqueue.yaml)"
        ) from error


def _be_quiet() -> None:
    """What dask logs of its own doings would drown the progress; `QC_JAX_DEBUG=1` shows it."""
    if not os.environ.get("QC_JAX_DEBUG"):
        for name in ("distributed", "distributed.client"):  # which have levels of their own
            logging.getLogger(name).setLevel(logging.CRITICAL)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a worker has to know besides the scan.

    Attributes:
      output, model, sha256: where outputs go; the model, None for that of the package, wherever
        the worker has it; its SHA-256.
      version: of qc_jax, here.
      wanted, limits: see `Worker`.
    """

    output: Path
    model: Path | None
    sha256: str
    version: str
    wanted: Wanted
    limits: Limits


def score_jobs(
    crew: Crew,
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    wanted: Wanted,
    limits: Limits,
) -> Iterator[Record]:
    """Records as they come, one for each job, in no particular order.

    A scan whose workers were lost again and again is refused; the others go on.

    Raises:
      ConfigError: the cluster has no workers, or none of this version, or its scheduler was lost.
      CheckpointError: no worker has got this model.
      OutputError: a worker cannot write the output.
    """
    path = None if model.path == DEFAULT else model.path.absolute()
    asked = _Asked(output.absolute(), path, model.sha256, qc_jax.__version__, wanted, limits)
    waiting, handed_out = collections.deque(jobs), dict[Any, Job]()
    try:
        watch = _Watch(crew, asked)
        while waiting or handed_out:
            room = _AHEAD * watch.look() - len(handed_out)
            for job in [waiting.popleft() for _ in range(min(room, len(waiting)))]:
                there = dataclasses.replace(job, scan=job.scan.absolute())
                future = crew.client.submit(
                    _score_there, there, asked, retries=_RETRIES, pure=False
                )
                handed_out[future] = job
            for future in _done(handed_out):
                job = handed_out.pop(future)
                made = _made(future, job, model)
                if made is None:
                    waiting.appendleft(job)
                else:
                    yield made
    except OSError as error:  # of the connection; those of files have sentences of their own
        raise ConfigError(
            f"the scheduler was lost ({one_line(error)}); what was scored is kept, run the same "
            "command to go on"
        ) from error


def _done(futures: Iterable[Any]) -> list[Any]:
    """Those that have come to an end, after some time at most."""
    from dask.distributed import wait

    if not futures:
        time.sleep(_LOOK_EVERY)
    with contextlib.suppress(TimeoutError, CancelledError):
        wait(list(futures), _LOOK_EVERY, "FIRST_COMPLETED")
    return [future for future in futures if future.done()]


def _made(future: Any, job: Job, model: Model) -> Record | None:
    """The record of a scan, or None where it has to be handed out again."""
    from dask.distributed import KilledWorker

    if future.cancelled():
        raise ConnectionError("its connection broke")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, UnfitError):
        return None
    if isinstance(error, KilledWorker):
        lost = 1 + error.allowed_failures
        reason = f"{job.scan} could not be scored: {lost} workers were lost with it"
        return record.refusal(job, model, Contents(), reason, passing=True)
    if isinstance(error, QcJaxError):
        raise error
    raise OutputError(f"{job.scan}: a worker failed ({type(error).__name__}: {one_line(error)})")


class _Watch:
    """Who is there, looked at now and then: says who was lost, sends home who is not fit."""

    def __init__(self, crew: Crew, asked: _Asked):
        """Looks at nobody yet."""
        self._crew, self._asked = crew, asked
        self._fit: dict[str, int] = {}
        self._unfit: set[str] = set()
        self._begun = False

    def look(self) -> int:
        """Threads of all workers that are fit; waits for the first ones.

        Raises:
          ConfigError, CheckpointError: there are none, or none that is fit.
        """
        first, self._begun = not self._begun, True
        if first:
            self._wait_for_one()
        there = self._crew.client.nthreads()
        lost = sorted(self._fit.keys() - there.keys())
        for address in lost:
            self._crew.tell(f"worker {address} was lost; what it had in hand goes to another")
        fresh = sorted(there.keys() - self._fit.keys() - self._unfit)
        unfit = _unfit(self._crew.client, fresh, self._asked)
        if first and unfit and len(unfit) == len(there):
            raise next(iter(unfit.values()))
        self._send_home(unfit)
        self._fit = {address: n for address, n in there.items() if address not in self._unfit}
        if lost and not self._fit:
            self._crew.tell("no worker is left; waiting for others")
        if self._crew.refill is not None:
            self._crew.refill()
        return sum(self._fit.values())

    def _wait_for_one(self) -> None:
        patient_until, slurm = time.monotonic() + _FIRST_WORKER, self._crew.refill is not None
        while not self._crew.client.nthreads():
            if time.monotonic() > patient_until:
                text = f"no worker has come within {_FIRST_WORKER:g} s; {_ADVICE[slurm]}"
                if not slurm:
                    raise ConfigError(text)
                self._crew.tell(f"{text}; waiting on")
                patient_until = math.inf
            time.sleep(0.5)

    def _send_home(self, unfit: Mapping[str, QcJaxError]) -> None:
        if not unfit:
            return
        for error in unfit.values():
            self._crew.tell(f"{error}; it is sent home, the others go on")
        self._unfit.update(unfit)
        if len(self._unfit) > _UNFIT_AT_MOST:
            raise next(iter(unfit.values()))
        self._crew.client.retire_workers(list(unfit))


def _unfit(client: Any, addresses: Sequence[str], asked: _Asked) -> dict[str, QcJaxError]:
    """Workers that have another version, or not this model, with the sentence that says so."""
    if not addresses:
        return {}
    found = client.run(_what_is_there, asked.model, workers=addresses, on_error="return")
    wrong: dict[str, QcJaxError] = {}
    for address, answer in found.items():
        if isinstance(answer, OSError):  # it is gone again
            continue
        if isinstance(answer, BaseException):
            said = f"cannot begin to work ({type(answer).__name__}: {one_line(answer)})"
            wrong[address] = ConfigError(f"worker {address} {said}")
        elif answer[0] != asked.version:
            wrong[address] = ConfigError(
                f"worker {address} has qc_jax {answer[0]}, this is {asked.version}; install the "
                "same everywhere"
            )
        elif answer[1] != asked.sha256:
            wrong[address] = CheckpointError(
                f"worker {address} has not got this model: {answer[1]}"
            )
    return wrong


def _what_is_there(model_path: Path | None) -> tuple[str, str]:
    """On a worker: version, and SHA-256 of the model or what is wrong with it."""
    try:
        return qc_jax.__version__, load_model(model_path).sha256
    except CheckpointError as error:
        return qc_jax.__version__, str(error)


def _score_there(job: Job, asked: _Asked) -> Record:
    """On a worker: one scan at a time through its scoring process.

    Raises:
      UnfitError: it came after the others were asked, and is not fit.
    """
    with _ONE_AT_A_TIME:
        process = _process(asked.model, asked.sha256, asked.version, asked.limits)
        return process.score(job, asked.output, asked.wanted)


_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def _process(model_path: Path | None, sha256: str, version: str, limits: Limits) -> Worker:
    """The scoring process of a dask worker lives as long as that worker: what it has compiled is
    what the next scan needs."""
    there = _what_is_there(model_path)
    if there != (version, sha256):
        raise UnfitError(*there)
    return Worker(load_model(model_path), limits)
