"""A run of `experiments.run`, as its arguments say: the folder, the stages in order, the table."""

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from rich.console import Console
from rich.table import Table

from experiments import build, hosts, machine, results, run_folder, train
from experiments.presets import Config, Until
from experiments.signals import Stop
from qc_jax import data, files, training
from qc_jax.data import cache
from qc_jax.errors import ConfigError

if TYPE_CHECKING:
    from experiments.run import Arguments

_UP_TO = {"task": ("task",), "teachers": ("task", "teachers")}
"""Groups of stages that are trained where not all are."""


def run(arguments: "Arguments", stop: Stop) -> None:
    """Trains and measures, and says what was reached.

    Raises:
      ConfigError: arguments that do not fit each other, or the folder.
    """
    config, folder = arguments.config, Path(arguments.run_dir).expanduser()
    console = Console(stderr=True)
    build.check(config)
    if arguments.coordinator:
        if arguments.stage == "evaluate":
            raise ConfigError("--stage=evaluate is for one process: leave --coordinator out")
        hosts.join(arguments.coordinator, arguments.processes, arguments.process)
    cache.use_compilation_cache()
    console.print(f"[bold]qc_jax[/] {arguments.stage}, preset {arguments.preset}, in {folder}")
    subjects = build.subjects_of(config)
    with contextlib.ExitStack() as stack:

        def claim() -> None:
            run_folder.claim(folder, config)
            stack.enter_context(run_folder.lock(folder))

        hosts.first(claim, "the folder is claimed")
        run_folder.claim(folder, config)
        if hosts.is_first() and arguments.stage != "evaluate":
            run_folder.compare_machine(folder, machine.facts())
        _run_stages(arguments.stage, config, folder, subjects, console, stop)
    if arguments.coordinator:
        print(f"trained; to measure it: --stage=evaluate --run-dir={folder}, in one process")
        return
    try:
        _print_table(run_folder.read_summary(folder), Console())
    except (KeyError, StopIteration) as error:
        raise ConfigError(
            f"{folder / 'summary.json'} is not complete; remove it, and --stage=evaluate measures "
            "again"
        ) from error
    print(f"summary: {folder / 'summary.json'}   figures: {folder / 'figures'}")


def _run_stages(
    last: Until,
    config: Config,
    folder: Path,
    subjects: Sequence[data.Subject],
    console: Console,
    stop: Stop,
) -> None:
    """Trains and evaluates all stages up to the last, as far as that was not done before."""
    started = time.monotonic()
    part = _parts(config, folder, subjects)
    console.print("subjects: " + ", ".join(f"{len(v)} {k}" for k, v in part.items()))
    params: dict[str, Any] = {}
    programs: dict[str, Callable] = {}
    took: dict[str, dict[str, float]] = {}
    for stage in build.stages(config):
        if stage.group not in _UP_TO.get(last, (stage.group,)):
            continue
        frozen = train.frozen_for(stage, params)
        params[stage.name] = train.load_params(config, folder, stage, frozen)
        if params[stage.name] is None and frozen is not None and last != "evaluate":
            if stage.group not in programs:
                programs[stage.group] = build.step_of(config, stage, training.data_mesh())
            trained = train.train_stage(
                config, folder, stage, part["train"], frozen, console, stop, programs[stage.group]
            )
            params[stage.name] = trained.params
            took[stage.name] = {"compiling": trained.compiling, "steps": trained.stepping}
        if hosts.any_of(stop.requested):
            stop.end()
        if params[stage.name] is None or jax.process_count() > 1:
            continue
        if last == "evaluate" or not results.of_stage(run_folder.read_summary(folder), stage):
            begun = time.monotonic()
            results.evaluate_stage(
                config, folder, stage, params[stage.name], part["validation"], console, stop
            )
            took.setdefault(stage.name, {})["evaluation"] = time.monotonic() - begun
    if not any(p is not None for p in params.values()):
        raise ConfigError(
            f"{folder} holds no trained network; train one with --stage=task, teachers or all"
        )
    if jax.process_count() > 1:
        return
    if not took:
        console.print("finished before, with this very configuration: nothing to do")
    else:
        _add_facts(folder, time.monotonic() - started, took)


def _parts(
    config: Config, folder: Path, subjects: Sequence[data.Subject]
) -> dict[str, list[data.Subject]]:
    """The subjects of each part of the split, which the folder keeps."""
    wanted_split = build.wanted_split(config, subjects)

    def keep() -> None:
        run_folder.split(folder, wanted_split)
        run_folder.check_data(folder, subjects)

    hosts.first(keep, "the split is written")
    split = run_folder.split(folder, wanted_split)
    if config.sample.deformation and any(subject.fractions is None for subject in subjects):
        raise ConfigError(
            f"{config.heads.data} holds images, and only label maps and the embedded population "
            "can be deformed: use --deformation=0"
        )
    return {
        name: [subject for subject in subjects if subject.name in members]
        for name, members in split.items()
    }


def _add_facts(folder: Path, seconds: float, took: Mapping[str, Mapping[str, float]]) -> None:
    """Adds to the summary how long it took, in all and each stage, on what, with which versions."""
    summary = run_folder.read_summary(folder)
    summary["seconds"] = summary.get("seconds", 0.0) + seconds
    of_stages = summary.setdefault("seconds_of_stages", {})
    for name, parts in took.items():
        before = of_stages.setdefault(name, {})
        before.update({part: before.get(part, 0.0) + value for part, value in parts.items()})
    summary["device"] = machine.device()
    summary["versions"] = {
        name: importlib.metadata.version(name) for name in ("qc_jax", "jax", "flax", "optax")
    }
    files.write_json(folder / "summary.json", summary)


def _print_table(summary: Mapping[str, Any], console: Console) -> None:
    """What has been measured so far, for people."""
    table = Table(title="Validation subjects; AUC over the upper half of the severities")
    for column in ("network", "Dice (clean)", "AUC own source", "Spearman with severity"):
        table.add_column(column)
    if "task" in summary:
        table.add_row("task", f"{summary['task']['dice']:.3f}", "", "")
    for name, entry in summary.get("teachers", {}).items():
        numbers = (entry["dice"], entry["auc"], entry["severity_spearman"])
        table.add_row(f"teacher {name}", *(f"{n:.3f}" for n in numbers))
    console.print(table)
    if "seconds_of_stages" in summary:
        console.print(_table_of_seconds(summary["seconds_of_stages"]))
    if "student" in summary:
        matrix = summary["student"]["auc"]
        columns = list(next(iter(matrix.values())))
        table = Table(title=f"Student, Dice {summary['student']['dice']:.3f}: AUC of each variance")
        table.add_column("artefact put in")
        for name in columns:
            table.add_column(f"{name} read")
        for row, values in matrix.items():
            table.add_row(row, *(f"{values[name]:.2f}" for name in columns))
        console.print(table)


def _table_of_seconds(of_stages: Mapping[str, Mapping[str, float]]) -> Table:
    """What each stage took, where it was not stopped."""
    table = Table(title="Seconds of each stage; compiling ends with the first step")
    columns = ("compiling", "steps", "evaluation")
    for column in ("network", *columns):
        table.add_column(column)
    for name, parts in of_stages.items():
        table.add_row(name, *(f"{parts[c]:.0f}" if c in parts else "" for c in columns))
    return table
