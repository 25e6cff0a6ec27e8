"""Many scans one after the other: each gets exactly one record, and none stops the others."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc_jax.data import nifti
from qc_jax.errors import ConfigError, QcJaxError, ScanError
from qc_jax.models import Model
from qc_jax.scoring import outputs, scan_report
from qc_jax.scoring.outputs import Job
from qc_jax.scoring.scan import score


def score_study(
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    sources: Sequence[str] = (),
    finished: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Scores every scan that has no record yet.

    Args:
      jobs: the scans.
      output: folder for maps, records and reports.
      model: see `load_model`.
      sources: those whose maps are written; all by default.
      finished: called with each record as it comes.

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
    records = []
    for record in _records(jobs, output, model, sources or known):
        records.append(record)
        finished(record)
    return records


def _records(
    jobs: Sequence[Job], output: Path, model: Model, sources: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for job in jobs:
        record = outputs.finished_record(output, job, model, sources)
        if record is None:
            try:
                record = _score_one(job, output, model, sources)
            except ScanError as error:
                record = outputs.refusal(job, model, str(error))
            except QcJaxError:
                raise
            except Exception as error:  # whatever one scan does, the others are scored
                reason = f"{job.scan} could not be scored: {type(error).__name__}: {error}"
                record = outputs.refusal(job, model, reason)
            if record["status"] == outputs.REFUSED:
                scan_report.forget(output, job)
            outputs.write_json(outputs.record_path(output, job), record)
        yield record


def _score_one(job: Job, output: Path, model: Model, sources: Sequence[str]) -> dict[str, Any]:
    times = [time.monotonic()]
    image = nifti.read_image(job.scan)
    np.asarray(image.dataobj)  # reading counts here, not in the network's time
    times.append(time.monotonic())
    found = score(image, model)
    times.append(time.monotonic())
    maps = outputs.write_maps(output, job, found, image, model, sources)
    times.append(time.monotonic())
    names = ("reading", "network", "maps")
    seconds = dict(zip(names, np.diff(times).round(3).tolist(), strict=True))
    record = outputs.record_of(job, model, found, maps, seconds)
    scan_report.write(output, job, found, record, model)
    record["seconds"]["report"] = round(time.monotonic() - times[-1], 3)
    return record
