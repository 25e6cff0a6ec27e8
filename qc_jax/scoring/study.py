"""Many scans one after the other: each gets exactly one record, and none stops the others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qc_jax.errors import ConfigError
from qc_jax.models import Model
from qc_jax.scoring import outputs, scan_report
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
    worker_command: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Scores every scan that has no record yet, in a process of their own.

    Args:
      jobs: the scans.
      output: folder for maps, records and reports.
      model: see `load_model`.
      sources: those whose maps are written; all by default.
      limits: what a scan may take.
      finished: called with each record as it comes.
      progress: called with the scan in work and the share of it that is done.
      worker_command: see `Worker`.

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
    wanted, records = sources or known, []
    with Worker(model, limits, worker_command) as worker:
        for job in jobs:
            record = outputs.finished_record(output, job, model, wanted)
            if record is None:
                record = worker.score(
                    job, output, wanted, lambda share, job=job: progress(job, share)
                )
                if record["status"] == outputs.REFUSED:
                    scan_report.forget(output, job)
                outputs.write_json(outputs.record_path(output, job), record)
            records.append(record)
            finished(record)
    return records
