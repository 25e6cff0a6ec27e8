"""What a stage says while it trains: `metrics.jsonl`, curves, a progress line, lines of text."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiments import hosts, run_folder
from experiments.build import Stage
from experiments.curves import Curves, open_curves
from experiments.presets import Config

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.completed}/{task.total}"),
    TextColumn("{task.fields[numbers]}"),
    TimeRemainingColumn(),
)


class Log:
    """The same numbers in four places, by the first process alone."""

    def __init__(
        self,
        config: Config,
        path: Path,
        stage: Stage,
        first: int,
        curves: Curves,
        progress: Progress,
    ):
        self._every, self._path, self._stage = config.log_every, path, stage
        self._curves, self._progress = curves, progress
        self._line = progress.add_task(
            stage.name, total=stage.steps, completed=first, numbers="compiling"
        )
        self._since, self._since_step = time.monotonic(), first

    def say(self, text: str) -> None:
        """A line of text, after the name of the stage."""
        self._progress.console.print(f"{self._stage.name}: {text}")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """What was reached by this step.

        Raises:
          OutputError: it cannot be written.
        """
        name, steps, console = self._stage.name, self._stage.steps, self._progress.console
        speed = (step - self._since_step) / (time.monotonic() - self._since)
        self._since, self._since_step = time.monotonic(), step
        if not hosts.is_first():
            return
        record = {"stage": name, "step": step, "steps_per_second": speed, **metrics}
        run_folder.append_metrics(self._path, record)
        self._curves.add(metrics, step)
        numbers = f"loss {metrics['loss']:.3f}  Dice {metrics['dice']:.2f}  {speed:.1f} steps/s"
        self._progress.update(self._line, completed=step, numbers=numbers)
        if not console.is_terminal and step % (5 * self._every) == 0:
            console.print(f"{name} {step}/{steps}  {numbers}")


@contextlib.contextmanager
def open_log(
    config: Config, folder: Path, stage: Stage, first: int, console: Console
) -> Iterator[Log]:
    """The log of a stage of a run, in which nothing is said of the steps after the first yet.

    Args:
      config: of the run.
      folder: of the run.
      stage: that is trained.
      first: the step that is done.
      console: for the progress line.
    """
    path, write = folder / "metrics.jsonl", hosts.is_first()
    if write:
        run_folder.forget_metrics_after(path, stage.name, first)
    with (
        open_curves(folder / "tensorboard" / stage.name, write) as curves,
        Progress(*_COLUMNS, console=console, disable=not write) as progress,
    ):
        yield Log(config, path, stage, first, curves, progress)
