"""Scans scored in a process of their own: a crash, a hang or a scan too large costs that scan only.

The process keeps the compiled network from scan to scan.  It speaks lines of JSON: a job in, then
its progress and one answer out.  It is started again where it had to be killed.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import psutil

from qc_jax import memory, process
from qc_jax.data import cache, formats
from qc_jax.errors import (
    CheckpointError,
    ConfigError,
    OutputError,
    QcJaxError,
    ScanError,
    UnreadableError,
    one_line,
)
from qc_jax.models import Model, load_model
from qc_jax.scoring import acquisition, jobs, outputs, record, scan_report, wanted
from qc_jax.scoring.jobs import Job, JobFields
from qc_jax.scoring.record import Contents
from qc_jax.scoring.record_fields import Record, Scored
from qc_jax.scoring.scan import score
from qc_jax.scoring.wanted import Wanted, WantedFields

_LOOK_EVERY = 0.2
"""Seconds between two looks at the time and the memory that a scan has taken."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one scan may take.

    Attributes:
      seconds: from the job to its record, the first scan's compilation included.
      gigabytes: resident memory of the process, of 2^30 bytes; 0 for three quarters of what it
        may take here, see `memory.limit`.
    """

    seconds: float = 900.0
    gigabytes: float = 0.0

    def __post_init__(self) -> None:
        """Raises ConfigError for limits that no scan could keep."""
        if not 0 < self.seconds < math.inf:
            raise ConfigError(
                f"--time-limit {self.seconds:g}: a number of seconds above 0 is meant"
            )
        if not 0 <= self.gigabytes < math.inf:
            raise ConfigError(f"--memory-limit {self.gigabytes:g}: a number of GB, or 0, is meant")

    @property
    def bytes(self) -> float:
        """The memory that may be used."""
        return self.gigabytes * 2**30 or 0.75 * memory.limit()


class _Task(TypedDict):
    """A line to the process: a scan, and what is made of it."""

    job: JobFields
    output: str
    wanted: WantedFields


class _Answer(TypedDict, total=False):
    """A line of the process, with one of these fields.

    Attributes:
      ready: SHA-256 of the model that it has loaded.
      progress: share of the network's work that is done.
      cannot_write: the sentence of an OutputError, or of another that ends the study.
      record: of the scan.
    """

    ready: str
    progress: float
    cannot_write: str
    record: Record


class Worker:
    """The process that scores, seen from the one that gives it the scans; a context manager."""

    def __init__(
        self,
        model: Model,
        limits: Limits,
        command: Sequence[str] = (),
        begun: Any = None,
        cores: Sequence[int] = (),
    ):
        """Starts nothing yet.

        Args:
          model: the process loads it from its path.
          limits: of each scan.
          command: what runs `main`; this module by default.
          begun: the first process, see `process.ahead`; it is begun when needed by default.
          cores: those that it may use; all by default.
        """
        self._cores = cores
        self._model, self._limits, self._begun = model, limits, begun
        self._command = command or process.COMMAND
        self._process: Any = None  # a Popen with pipes while it runs
        self._received = b""

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.rest()

    def rest(self) -> None:
        """Ends the process, and with it what it holds in memory; the next scan begins another."""
        self._kill()

    def score(
        self,
        job: Job,
        output: Path,
        asked: Wanted,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Record:
        """The record of a scan; its maps and its report are written.

        Args:
          job: the scan.
          output: folder of all outputs.
          asked: what is made of it.
          progress: called with the share of the network's work that is done.

        Raises:
          OutputError: the maps or the report cannot be written.
          CheckpointError: the process could not load the model.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        task = {
            "job": jobs.to_json(job),
            "output": str(output),
            "wanted": dataclasses.asdict(asked),
        }
        deadline = time.monotonic() + self._limits.seconds
        try:
            with contextlib.suppress(BrokenPipeError):  # it died: the answer says how
                self._process.stdin.write(json.dumps(task).encode() + b"\n")
                self._process.stdin.flush()
            while "progress" in (answer := self._answer(deadline)):
                progress(answer["progress"])
        except _FailedError as failure:
            self._kill()
            reason = f"{job.scan} could not be scored: its process {failure}"
            return record.refusal(job, self._model, Contents(), reason, passing=True)
        if "cannot_write" in answer:
            raise OutputError(answer["cannot_write"])
        return answer["record"]

    def _start(self) -> None:
        self._kill()
        begun, self._begun = self._begun, None
        self._process = begun or process.begin(self._command, self._model.path, self._cores)
        try:
            found = self._answer(time.monotonic() + self._limits.seconds).get("ready")
        except _FailedError as failure:
            raise CheckpointError(
                f"{self._model.path}: the process that loads it {failure}"
            ) from None
        if found != self._model.sha256:
            raise CheckpointError(f"{self._model.path} was changed while it was in use")

    def _answer(self, deadline: float) -> _Answer:
        """The next line of the process; _FailedError where it died, hung or took too much."""
        running, watched = self._process, psutil.Process(self._process.pid)
        while b"\n" not in self._received:
            if select.select([running.stdout], [], [], _LOOK_EVERY)[0]:
                piece = os.read(running.stdout.fileno(), 1 << 16)
                if not piece:
                    raise _FailedError(_how_it_ended(running.wait()))
                self._received += piece
            if time.monotonic() > deadline:
                raise _FailedError(f"took more than {self._limits.seconds:g} s (--time-limit)")
            if running.poll() is None and watched.memory_info().rss > self._limits.bytes:
                gigabytes = self._limits.bytes / 2**30
                raise _FailedError(f"took more than {gigabytes:.3g} GB of memory (--memory-limit)")
        line, self._received = self._received.split(b"\n", 1)
        return json.loads(line)

    def _kill(self) -> None:
        if self._process is not None:
            process.end(self._process)
        self._process, self._received = None, b""


class _FailedError(Exception):
    """How the process failed, to follow "its process"."""


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (
        ", as the system does where memory runs out" if name == "SIGKILL" else ""
    )


def main() -> None:
    """The process itself: `python -m qc_jax.scoring.worker MODEL`, jobs on standard input."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer

    def say(**answer: Unpack[_Answer]) -> None:
        try:
            channel.write(json.dumps(answer) + "\n")
            channel.flush()
        except BrokenPipeError:  # the one that asked has ended
            os._exit(1)

    _end_with(os.getppid())
    logging.getLogger("nibabel.global").disabled = True  # the record says it
    cache.use_compilation_cache()
    try:
        model = load_model(sys.argv[1] or None)
    except Exception:  # the one that asks meets the same, and says it
        if os.environ.get("QC_JAX_DEBUG"):
            raise
        sys.exit(CheckpointError.exit_code)
    say(ready=model.sha256)
    for line in sys.stdin:
        task: _Task = json.loads(line)
        try:
            made = record_for(
                jobs.from_json(task["job"]),
                Path(task["output"]),
                model,
                wanted.from_json(task["wanted"]),
                lambda share: say(progress=share),
            )
        except QcJaxError as error:
            say(cannot_write=str(error))
        else:
            say(record=made)


def record_for(
    job: Job,
    output: Path,
    model: Model,
    asked: Wanted,
    progress: Callable[[float], None],
) -> Record:
    """The record of a scan, scored or refused, whatever is wrong with it.

    Raises:
      OutputError: its files cannot be written.
    """
    contents = record.look(job.scan)
    refuse = functools.partial(record.refusal, job, model, contents)
    try:
        return score_one(job, contents, output, model, asked, progress)
    except UnreadableError as error:
        return refuse(str(error), passing=True)
    except ScanError as error:
        return refuse(str(error))
    except QcJaxError:
        raise
    except Exception as error:  # whatever one scan does, the others are scored
        reason = f"{job.scan} could not be scored: {type(error).__name__}: {one_line(error)}"
        return refuse(reason, passing=True)


def _end_with(parent: int) -> None:
    """Ends this process soon after the one that gives it the scans, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def score_one(
    job: Job,
    contents: Contents,
    output: Path,
    model: Model,
    asked: Wanted,
    progress: Callable[[float], None],
) -> Scored:
    """Scores a scan, writes its maps and its report, and returns its record.

    Raises:
      ScanError: the scan cannot be used.
      OutputError: something cannot be written.
    """
    times = [time.monotonic()]
    image, warnings = formats.read_scan(job.scan)
    np.asarray(image.dataobj)  # reading counts here, not in the network's time
    if record.stamp_of(job.scan) != contents.stamp:
        raise UnreadableError(f"{job.scan} was changed while it was read; score it again")
    times.append(time.monotonic())
    parameters, unreadable = acquisition.read(job, image)
    found = score(image, model, progress, [*warnings, *unreadable])
    times.append(time.monotonic())
    names = asked.maps_of(found.interpretation.named_causes if found.interpretation else ())
    maps = outputs.write_maps(output, job, found, image, model, names)
    times.append(time.monotonic())
    steps = ("reading", "network", "maps")
    seconds = dict(zip(steps, np.diff(times).round(3).tolist(), strict=True))
    made = record.scored(job, model, contents, found, maps, seconds, asked.rule, parameters)
    scan_report.write(output, job, found, made, model)
    made["seconds"]["report"] = round(time.monotonic() - times[-1], 3)
    written = [path for path, _ in outputs.planned_files(output, job, names)]
    written.remove(record.record_path(output, job))
    return made | {"files": record.sizes(output, written)}


if __name__ == "__main__":
    main()
