"""A study over the workers of a dask cluster: a local one, one that runs already, or SLURM's.

Every worker of the cluster keeps one scoring process (`worker.Worker`); scans, model and output
have to lie on a file system that all of them share.  Records come back to the process that asks,
which alone writes them.
"""

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import qc_jax
from qc_jax.errors import CheckpointError, ConfigError, OutputError, QcJaxError
from qc_jax.models import Model, load_model
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
_RETRIES = 2
"""Times that a scan is given to another worker where one was lost with it."""


@contextlib.contextmanager
def connect(scheduler: str, workers: int) -> Iterator[Any]:
    """A client of the cluster, or None for none.

    Args:
      scheduler: `local` for none, `dask:ADDRESS`, or `slurm`, whose queue, memory and cores come
        from dask's own configuration file (`jobqueue.slurm`).
      workers: jobs that SLURM is asked for.

    Raises:
      ConfigError: dask is not installed, the scheduler is unknown or does not answer.
    """
    if scheduler == "local":
        yield None
        return
    try:
        import dask.distributed as distributed

        if scheduler == "slurm":
            import dask_jobqueue
    except ImportError as error:
        raise ConfigError(
            f"--scheduler={scheduler} needs dask: pip install 'qc_jax[cluster]'"
        ) from error
    kind, _, address = scheduler.partition(":")
    with contextlib.ExitStack() as stack:
        if kind == "slurm" and not address:
            try:
                cluster = stack.enter_context(dask_jobqueue.SLURMCluster())
            except ValueError as error:
                raise ConfigError(
                    f"--scheduler=slurm: {error} (set them in ~/.config/dask/jobqueue.yaml)"
                ) from error
            cluster.scale(jobs=workers)
            address = cluster
        elif kind != "dask" or not address:
            raise ConfigError(
                f"--scheduler={scheduler} is unknown; choose local, dask:ADDRESS or slurm"
            )
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_PATIENCE))
        except (OSError, ValueError) as error:
            raise ConfigError(f"no scheduler answers at {address} ({error})") from error
        yield client


def score_jobs(
    client: Any,
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    wanted: Wanted,
    limits: Limits,
) -> Iterator[Record]:
    """Records as they come, one for each job, in no particular order.

    A scan whose workers were lost again and again is refused; the others go on.

    Raises:
      ConfigError: the cluster has no workers, or one with another version.
      CheckpointError: a worker has not got this model.
      OutputError: a worker cannot write the output.
    """
    from dask.distributed import KilledWorker, as_completed

    _check_workers(client, model)
    waiting = iter(jobs)

    def submit(job: Job):
        future = client.submit(
            _score_there, job, output, model.path, wanted, limits, retries=_RETRIES, pure=False
        )
        handed_out[future.key] = job
        return future

    handed_out: dict[str, Job] = {}
    threads = sum(client.nthreads().values())
    first = [submit(job) for job in itertools.islice(waiting, _AHEAD * threads)]
    finished = as_completed(first)
    for future in finished:
        job = handed_out.pop(future.key)
        error = future.exception()
        if error is None:
            yield future.result()
        elif isinstance(error, KilledWorker):
            reason = f"{job.scan} could not be scored: {1 + _RETRIES} workers were lost with it"
            yield record.refusal(job, model, Contents(), reason, passing=True)
        elif isinstance(error, QcJaxError):
            raise error
        else:
            raise OutputError(f"{job.scan}: a worker failed ({type(error).__name__}: {error})")
        for job in waiting:
            finished.add(submit(job))
            break


def _check_workers(client: Any, model: Model) -> None:
    """All of them there, of this version, with this model; before the first scan."""
    client.wait_for_workers(1, timeout=600)
    for address, (version, found) in client.run(_what_is_there, model.path).items():
        if version != qc_jax.__version__:
            raise ConfigError(
                f"worker {address} has qc_jax {version}, this is {qc_jax.__version__}; install the "
                "same everywhere"
            )
        if found != model.sha256:
            raise CheckpointError(f"worker {address} has not got this model: {found}")


def _what_is_there(model_path: Path) -> tuple[str, str]:
    """On a worker: version, and SHA-256 of the model or what is wrong with it."""
    try:
        return qc_jax.__version__, load_model(model_path).sha256
    except CheckpointError as error:
        return qc_jax.__version__, str(error)


def _score_there(
    job: Job, output: Path, model_path: Path, wanted: Wanted, limits: Limits
) -> Record:
    """On a worker: one scan at a time through its scoring process."""
    process, one_at_a_time = _process(model_path, limits)
    with one_at_a_time:
        return process.score(job, output, wanted)


@functools.cache
def _process(model_path: Path, limits: Limits) -> tuple[Worker, threading.Lock]:
    """The scoring process of a dask worker lives as long as that worker: what it has compiled is
    what the next scan needs."""
    return Worker(load_model(model_path), limits), threading.Lock()
