"""Scoring with a line of progress for all scans, and a sentence for each that is done."""

import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qc_jax import interrupt
from qc_jax.errors import ConfigError
from qc_jax.terminal import Patient, note, say

if TYPE_CHECKING:  # whose package takes seconds to import
    from collections.abc import Sequence

    from qc_jax.commands import Common
    from qc_jax.scoring.decision import Rule
    from qc_jax.scoring.jobs import Job
    from qc_jax.scoring.record_fields import Record


def score_jobs(
    jobs: "Sequence[Job]", output: Path, arguments: "Common", rule: "Rule", begun: Any
) -> "list[Record]":
    """Scores with a line for each scan, in a process that has begun; returns their records."""
    from qc_jax import devices
    from qc_jax.models import load_model
    from qc_jax.scoring import cluster, local, outputs, study, worker
    from qc_jax.scoring.record_fields import REFUSED
    from qc_jax.scoring.wanted import Wanted

    if (wrong := devices.what_is_wrong()) != "":
        raise ConfigError(wrong)
    if arguments.slurm_jobs < 1:
        raise ConfigError(f"--slurm-jobs {arguments.slurm_jobs}: at least 1 is meant")
    if arguments.nprocs < 1:
        raise ConfigError(f"--nprocs {arguments.nprocs}: at least 1 is meant")
    asked = Wanted(arguments.sources, rule, arguments.maps)
    limits = worker.Limits(arguments.time_limit, arguments.memory_limit)
    model = load_model(arguments.model or None)
    outputs.claim(output)  # before the progress line, so that an error stands alone
    heard, here = [], local.Here(arguments.nprocs, begun=begun, tell=lambda text: tell(text))
    shares: dict[str, float] = {}
    with (
        cluster.connect(arguments.scheduler, arguments.slurm_jobs, lambda t: tell(t)) as crew,
        _progress() as progress,
    ):
        tell = functools.partial(progress.console.print, markup=False, highlight=False)
        line = progress.add_task(f"{len(jobs)} scans", total=len(jobs))
        current = progress.add_task("", total=1.0, visible=False)

        def show_share(job, share):
            shares[job.name] = share
            left = {name: done for name, done in list(shares.items()) if done < 1}
            told = f"{len(left)} at a time" if len(left) > 1 else " ".join(left)
            done = sum(left.values()) / max(1, len(left))
            progress.update(current, description=told, completed=done, visible=bool(left))

        def show(made):
            shares.pop(made["name"], None)
            progress.advance(line)
            if arguments.json:
                heard.append(say(json.dumps(made)))
            else:
                tell(_in_words(made, rule))

        # The scoring process here ends by itself; a cluster has to be told.
        with interrupt.at_once() if crew is None else interrupt.in_order():
            records = study.score_study(
                jobs, output, model, asked, limits, show, show_share, crew, here
            )
    refused = sum(made["status"] == REFUSED for made in records)
    if refused:
        others = ", the others scored" if refused < len(records) else ""
        note(f"{refused} of {len(records)} scans refused{others}")
    if not all(heard):
        note(f"standard output took no more; all records are in {output}")
    return records


def _progress():
    """Lines of progress on standard error, below what is said of each scan."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(file=Patient(sys.stderr))  # type: ignore[arg-type]
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _in_words(made: "Record", rule: "Rule") -> str:
    """The line of a scan: its decision and the sentence, or why it was refused."""
    from qc_jax.scoring import record
    from qc_jax.scoring.record_fields import REFUSED

    if made["status"] == REFUSED:
        return f"{made['name']}: {made['reason']}"
    # Records of version 0.10 and before have no decision in them.
    decided = record.decision_of(made, rule).word
    return f"{made['name']}: {decided}: {made.get('sentence', made['status'])}"
