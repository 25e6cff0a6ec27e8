"""Many scans: each gets exactly one record, and none stops the others."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qc_jax.errors import ConfigError
from qc_jax.models import Model
from qc_jax.scoring import cluster, outputs, scan_report
from qc_jax.scoring.outputs import Job
from qc_jax.scoring.worker import Limits, Worker


def score_study(
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    sources: Sequence[str] = (),
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    finished: Callable[[dict[str, Any]], None] = lambda record: None,
    progress: Callable[[Job, float], None] = lambda job, share: None,
    client: Any = None,
    worker_command: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Scores every scan that has no record yet, in processes of their own.

    Args:
      jobs: the scans.
      output: folder for maps, records and reports.
      model: see `load_model`.
      sources: those whose maps are written; all by default.
      limits: what a scan may take.
      finished: called with each record as it comes, those of earlier calls first.
      progress: called with the scan in work and the share of it that is done, here only.
      client: of a dask cluster, see `cluster.connect`; None scores one scan after the other here.
      worker_command: see `Worker`, here only.

    Returns:
      A record for each job, in their order.

    Raises:
      ConfigError: a source that the model does not know.
      OutputError: the output cannot be written.
    """
    known = model.description.sources
    unknown = [name for name in sources if name not in known]
    if unknown:
        raise ConfigError(f"the model knows no {', '.join(unknown)}; it knows {', '.join(known)}")
    outputs.claim(output)
    wanted, records = tuple(sources or known), {}
    for job in jobs:
        record = outputs.finished_record(output, job, model, wanted)
        if record is not None:
            records[job.name] = record
            finished(record)
    left = {job.name: job for job in jobs if job.name not in records}
    if client is None:
        fresh = _score_here(
            list(left.values()), output, model, wanted, limits, progress, worker_command
        )
    else:
        fresh = cluster.score_jobs(client, list(left.values()), output, model, wanted, limits)
    for record in fresh:
        job = left[record["name"]]
        if record["status"] == outputs.REFUSED:
            scan_report.forget(output, job)
        outputs.write_json(outputs.record_path(output, job), record)
        records[job.name] = record
        finished(record)
    return [records[job.name] for job in jobs]


def _score_here(
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    sources: Sequence[str],
    limits: Limits,
    progress: Callable[[Job, float], None],
    worker_command: Sequence[str],
) -> Iterator[dict[str, Any]]:
    with Worker(model, limits, worker_command) as worker:
        for job in jobs:
            yield worker.score(job, output, sources, functools.partial(progress, job))
