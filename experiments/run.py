"""Trains and evaluates: `python -m experiments.run --stage=teachers`."""

import contextlib
import dataclasses
import importlib.metadata
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro

from experiments import command, limits
from experiments.presets import PRESETS, Config, Until
from experiments.signals import Stop, stop_on_signal
from qc_jax.errors import ConfigError

Preset = Literal["demo", "gpu", "paper"]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the task network, the teachers and the student, and evaluates them.

    A stage trains what it needs and does not find. Called again in the same folder, it goes on
    where it stopped.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    stage: Until = "all"
    """What to do: task, then teachers (one for each source), then student; evaluate measures what
    is there once more."""
    preset: Preset = "demo"
    """Defaults of all fields below."""
    run_dir: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo"
    """Folder of the run: configuration, checkpoints, metrics, figures, summary."""
    coordinator: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")] = ""
    """Train over several processes that share the folder, this one among them: where process 0
    listens, or auto to learn it and both numbers from SLURM, Open MPI or the TPU. Nothing is
    measured then; --stage=evaluate does that in one process."""
    processes: int = 1
    """How many processes there are."""
    process: int = 0
    """Which of them this is, from 0."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return command.exit_code_of(lambda: run(parse(arguments)))


def parse(arguments: list[str]) -> Arguments:
    """Command line to arguments; the preset gives the defaults of the other fields."""
    preset = "demo"
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--preset":
            preset = value or "".join(arguments[i + 1 : i + 2])
    if preset not in PRESETS:
        raise ConfigError(f"--preset {preset} is unknown: choose from {', '.join(PRESETS)}")
    named = cast(Preset, preset)
    default = Arguments(config=PRESETS[preset], preset=named, run_dir=f"runs/{preset}")
    return tyro.cli(Arguments, args=arguments, default=default, prog="python -m experiments.run")


def run(arguments: Arguments) -> None:
    """Does what the arguments say."""
    limits.check(arguments)
    if arguments.process >= arguments.processes:
        raise ConfigError(
            f"--process {arguments.process}: they are counted from 0 to {arguments.processes - 1}"
        )
    if not arguments.run_dir.strip():
        raise ConfigError("--run-dir is empty; name a folder")
    with stop_on_signal() as stop:
        _run(arguments, stop)


def _run(arguments: Arguments, stop: Stop) -> None:
    # jax and all that needs it are imported here, so that --help and usage errors are quick.
    from rich.console import Console

    from experiments import build, hosts, machine, run_folder
    from qc_jax.data import cache

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

        def claim():
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


def _run_stages(last: Until, config: Config, folder: Path, subjects, console, stop) -> None:
    """Trains and evaluates all stages up to the last, as far as that was not done before."""
    import jax

    from experiments import build, hosts, machine, run_folder, train
    from qc_jax import files

    started = time.monotonic()
    wanted_split = build.wanted_split(config, subjects)

    def keep():
        run_folder.split(folder, wanted_split)
        run_folder.check_data(folder, subjects)

    hosts.first(keep, "the split is written")
    split = run_folder.split(folder, wanted_split)
    part = {
        name: [subject for subject in subjects if subject.name in members]
        for name, members in split.items()
    }
    if config.sample.deformation and any(subject.fractions is None for subject in subjects):
        raise ConfigError(
            f"{config.heads.data} holds images, and only label maps and the embedded population "
            "can be deformed: use --deformation=0"
        )
    console.print("subjects: " + ", ".join(f"{len(v)} {k}" for k, v in part.items()))

    groups = {"task": ("task",), "teachers": ("task", "teachers")}
    params: dict[str, Any] = {}
    worked = False
    for stage in build.stages(config):
        if last in groups and stage.group not in groups[last]:
            continue
        frozen = train.frozen_for(stage, params)
        params[stage.name] = train.load_params(config, folder, stage, frozen)
        if params[stage.name] is None and frozen is not None and last != "evaluate":
            begun = time.monotonic()
            params[stage.name] = train.train_stage(
                config, folder, stage, part["train"], frozen, console, stop
            )
            console.print(f"{stage.name} trained in {time.monotonic() - begun:.0f} s")
        if hosts.any_of(stop.requested):
            stop.end()
        if params[stage.name] is None or jax.process_count() > 1:
            continue
        if last == "evaluate" or not _measured(run_folder.read_summary(folder), stage):
            worked = True
            _evaluate(config, folder, stage, params[stage.name], part["validation"], console, stop)
    if not any(p is not None for p in params.values()):
        raise ConfigError(
            f"{folder} holds no trained network; train one with --stage=task, teachers or all"
        )
    if jax.process_count() > 1:
        return
    if not worked:
        console.print("finished before, with this very configuration: nothing to do")
    else:
        summary = run_folder.read_summary(folder)
        summary["seconds"] = summary.get("seconds", 0.0) + time.monotonic() - started
        summary["device"] = machine.device()
        summary["versions"] = {
            name: importlib.metadata.version(name) for name in ("qc_jax", "jax", "flax", "optax")
        }
        files.write_json(folder / "summary.json", summary)


def _measured(summary: dict, stage) -> dict:
    """What a summary holds of a stage, empty where it was not evaluated."""
    if stage.group != "teachers":
        return summary.get(stage.group, {})
    (source,) = stage.sources
    return summary.get("teachers", {}).get(source.name, {})


def _evaluate(config, folder, stage, params, subjects, console, stop) -> None:
    """Measures one network, adds it to the summary and draws its pictures."""
    import jax
    import numpy as np

    from experiments import build, evaluate, export, figures, run_folder
    from qc_jax import augment, data, files
    from qc_jax.scoring import preview, scan

    begun = time.monotonic()
    seen = stage.sources
    model = build.model_of(config, folder / "student.safetensors", params, seen)
    with console.status(f"{stage.name}: scoring {len(subjects)} validation subjects"):
        # The student's scores are calibrated, which has to be done as it will score.
        overlap = scan.OVERLAP if stage.group == "student" else config.overlap
        scored = evaluate.score_scans(
            model, subjects, seen, config.evaluation_draws, config.seed, overlap, stop.check
        )
    summary = run_folder.read_summary(folder)
    if stage.group == "task":
        summary["task"] = {"dice": evaluate.mean_dice(scored)}
    elif stage.group == "student":
        summary["student"] = {
            "dice": evaluate.mean_dice(scored),
            "auc": {
                row.name: {
                    name: evaluate.auc(scored, row.name, channel)
                    for channel, name in enumerate(["task", *(s.name for s in seen)])
                }
                for row in seen
            },
            "severity_spearman": {
                s.name: evaluate.severity_spearman(scored, s.name, 1 + i)
                for i, s in enumerate(seen)
            },
        }
        export.write_weights(config, model, scored)
    else:
        (source,) = seen
        summary.setdefault("teachers", {})[source.name] = {
            "auc": evaluate.auc(scored, source.name, 1),
            "severity_spearman": evaluate.severity_spearman(scored, source.name, 1),
            "dice": evaluate.mean_dice(scored),
        }
    files.write_json(folder / "summary.json", summary)

    (folder / "figures").mkdir(exist_ok=True)
    _, clean, labels = next(data.clean_scans(subjects[:1], config.seed))
    key = jax.random.key(config.seed)
    if stage.group == "task":
        sources = build.chosen_sources(config)
        preview.plot_artefacts(folder / "figures" / "artefacts.png", clean, sources, key)
    images = {"clean": clean}
    images |= {s.name: np.asarray(augment.corrupt(key, clean, s, 0.75)) for s in seen}
    rows = [
        (title, image, scan.measure(model, scan.on_grid(image, config.heads.voxel_size)).prediction)
        for title, image in images.items()
    ]
    figures.plot_predictions(
        folder / "figures" / f"{stage.name.replace('/', '_')}.png",
        rows,
        ["task", *(s.name for s in seen)],
        labels,
    )
    console.print(f"{stage.name} evaluated in {time.monotonic() - begun:.0f} s")


def _print_table(summary: dict, console) -> None:
    """What has been measured so far, for people."""
    from rich.table import Table

    table = Table(title="Validation subjects; AUC over the upper half of the severities")
    for column in ("network", "Dice (clean)", "AUC own source", "Spearman with severity"):
        table.add_column(column)
    if "task" in summary:
        table.add_row("task", f"{summary['task']['dice']:.3f}", "", "")
    for name, entry in summary.get("teachers", {}).items():
        numbers = (entry["dice"], entry["auc"], entry["severity_spearman"])
        table.add_row(f"teacher {name}", *(f"{n:.3f}" for n in numbers))
    console.print(table)
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


if __name__ == "__main__":
    sys.exit(main())
