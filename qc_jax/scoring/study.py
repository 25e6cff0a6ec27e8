"""Many scans: each gets exactly one record, and none stops the others."""

import collections
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from qc_jax import files
from qc_jax.errors import ConfigError
from qc_jax.models import Model
from qc_jax.scoring import cluster, local, outputs, ownership, record, scan_report
from qc_jax.scoring.jobs import Job, plain_stem
from qc_jax.scoring.record_fields import REFUSED, Record
from qc_jax.scoring.wanted import Wanted
from qc_jax.scoring.worker import Limits


def score_study(
    jobs: Sequence[Job],
    output: Path,
    model: Model,
    wanted: Wanted = Wanted(),  # noqa: B008 (frozen)
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    finished: Callable[[Record], None] = lambda record: None,
    progress: Callable[[Job, float], None] = lambda job, share: None,
    crew: cluster.Crew | None = None,
    here: local.Here = local.Here(),  # noqa: B008 (frozen)
) -> list[Record]:
    """Scores every scan that has no record yet, in processes of their own.

    Args:
      jobs: the scans.
      output: folder for maps, records and reports.
      model: see `load_model`.
      wanted: what is made of each.
      limits: what a scan may take.
      finished: called with each record as it comes, those of earlier calls first.
      progress: called with the scan in work and the share of it that is done, here only.
      crew: of a dask cluster, see `cluster.connect`; None scores here.
      here: how; the number of processes falls to that which cores and memory are there for.

    Returns:
      A record for each job, in their order.

    Raises:
      ConfigError: a source that the model does not know.
      OutputError: the output cannot be written, or holds what another made.
    """
    known = model.description.sources
    unknown = [name for name in wanted.sources if name not in known]
    if unknown:
        raise ConfigError(f"the model knows no {', '.join(unknown)}; it knows {', '.join(known)}")
    outputs.claim(output)
    scan_report.copy_viewer(output)
    wanted, records = dataclasses.replace(wanted, sources=wanted.sources or known), {}
    jobs = _under_earlier_names(jobs, output)
    for job in jobs:
        done = record.finished(output, job, model, wanted)
        if done is not None:
            records[job.name] = done
            finished(done)
    left = {job.name: job for job in jobs if job.name not in records}
    for job in left.values():
        ownership.check_files(outputs.planned_files(output, job, wanted.possible_maps))
        record.check_replaceable(output, job)
    if (raw := outputs.raw_folder(jobs)) is not None:
        outputs.refer_to(output, raw)
    if crew is None:
        fresh = local.score_jobs(here, list(left.values()), output, model, wanted, limits, progress)
    else:
        fresh = cluster.score_jobs(crew, list(left.values()), output, model, wanted, limits)
    for made in fresh:
        job = left[made["name"]]
        if made["status"] == REFUSED:
            scan_report.forget(output, job)
        files.write_json(record.record_path(output, job), made)
        records[job.name] = made
        finished(made)
    return [records[job.name] for job in jobs]


def _under_earlier_names(jobs: Sequence[Job], output: Path) -> list[Job]:
    """Plain scans that lay elsewhere in an earlier call get the names that they had then."""
    if all(job.entities for job in jobs):
        return list(jobs)
    earlier = collections.defaultdict(list)
    for folder in output.iterdir():
        name = re.fullmatch(r"(?:(.*)_)?[0-9a-f]{8}", folder.name)
        if name:
            earlier[name[1] or ""].append(folder.name)
    taken, settled = {job.name for job in jobs}, []
    for job in jobs:
        if not job.entities and not record.record_path(output, job).exists():
            names = [name for name in earlier[plain_stem(job.scan)] if name not in taken]
            job = record.same_scan(output, job, names)
            taken.add(job.name)
        settled.append(job)
    return settled
