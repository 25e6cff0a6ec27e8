"""The whole chain in so many minutes: task, teachers and student, from a cold start on one GPU.

python -m experiments.pack labels:DIR --output=heads.npz
python -m experiments.recipe --data=packed:heads.npz --run-dir=runs/recipe --output=out
python -m experiments.export runs/recipe --output=student.safetensors    # later, on a CPU

With heads to scan, processes scan them on the processors while the networks are trained, and a
source head is trained in the end on what they have made; `experiments.refine` calibrates it.

python -m experiments.pack labels:DIR --output=to_scan.npz --split=split.json --scans *.nii.gz
python -m experiments.recipe --data=packed:heads.npz --to-scan=to_scan.npz --output=out
python -m experiments.refine --model=runs/recipe/weights/sources.safetensors --steps=0 ...
"""

import dataclasses
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from experiments import command, limits, time_box
from experiments.presets import PRESETS, Config
from experiments.signals import Stop, stop_on_signal
from qc_jax.errors import ConfigError

if TYPE_CHECKING:
    import jax
    from rich.console import Console

    from experiments.build import Stage
    from qc_jax import data, training
    from qc_jax.augment import Source

SAVE_EVERY = 120.0
"""Seconds between the checkpoints of a stage."""
TIMED_STEPS = 12
"""Steps, after the compilation, by which a program is timed."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains task network, teachers and student within so many minutes.

    Called again with the same folder it goes on where it stopped, for as many minutes again. The
    numbers of steps follow from the time: --steps-task, --steps-teachers and --steps-student are
    set by the recipe, and --checkpoint-every is not used.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    minutes: float = 12.0
    """From the start of this command to its end, compilation included."""
    run_dir: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/recipe"
    """Folder of the run."""
    to_scan: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Heads to scan for a source head, from `experiments.pack --split`; empty for none."""
    processes: int = 0
    """That scan heads, with 4 to 7 GB each; 0 for two less than there are processors."""
    output: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Where the run folder is packed into files below 16 MiB, and the metrics beside them; empty
    for nowhere."""


class Setting(NamedTuple):
    """What is the same for all stages."""

    folder: Path
    subjects: "list[data.Subject]"
    sources: "tuple[Source, ...]"
    console: "Console"
    stop: Stop


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 when all is trained, 75 when the time was over before."""
    default = Arguments(PRESETS["gpu"])
    prog = "python -m experiments.recipe"

    def work() -> None:
        started = time.monotonic()
        parsed = tyro.cli(Arguments, args=arguments, default=default, prog=prog)
        limits.check(parsed, processes=(0, 10**4))
        with stop_on_signal() as stop:
            stop.deadline = started + 60.0 * parsed.minutes
            run(parsed, stop)

    return command.exit_code_of(work)


def run(arguments: Arguments, stop: Stop) -> None:
    """Trains until all is done or the time is over, and packs what there is."""
    from rich.console import Console

    from experiments import bundle, run_folder
    from experiments.refine import in_time
    from qc_jax.data import cache

    folder, console = Path(arguments.run_dir).expanduser(), Console(stderr=True)
    cache.use_compilation_cache()
    config, subjects = _prepare(arguments.config, folder)
    seconds = 60.0 * arguments.minutes
    with run_folder.lock(folder):
        try:
            if not arguments.to_scan:
                _train(config, seconds, folder, subjects, console, stop)
            else:
                path, deadline = Path(arguments.to_scan).expanduser(), stop.deadline
                stop.deadline -= time_box.SOURCE_HEAD * seconds
                with in_time.scanned(config, path, folder, arguments.processes, stop):
                    without_head = (1 - time_box.SOURCE_HEAD) * seconds
                    _train(config, without_head, folder, subjects, console, stop)
                stop.deadline = deadline
                in_time.train(config, folder, console, stop)
        finally:
            if arguments.output:
                output = Path(arguments.output).expanduser()
                bundle.write_parts(folder, output)
                if (folder / "metrics.jsonl").exists():
                    shutil.copy(folder / "metrics.jsonl", output)
    print(f"trained; python -m experiments.export {folder} --output=student.safetensors")


def _prepare(config: Config, folder: Path) -> "tuple[Config, list[data.Subject]]":
    """The configuration with the steps that are fixed already, and the heads to train on."""
    from rich.console import Console

    from experiments import build, run_folder

    if (folder / "config.json").exists():
        config = _with_steps(config, run_folder.read_config(folder))
    build.check(config)
    with Console(stderr=True).status(f"reading {config.heads.data or 'the embedded population'}"):
        subjects = build.subjects_of(config)
    if any(subject.fractions is None for subject in subjects):
        raise ConfigError("--data: the recipe needs label maps or the embedded population")
    run_folder.claim(folder, config)
    members = run_folder.split(folder, build.wanted_split(config, subjects))["train"]
    run_folder.check_data(folder, subjects)
    return config, [subject for subject in subjects if subject.name in members]


def _with_steps(config: Config, found: Config) -> Config:
    names = ("steps_task", "steps_teachers", "steps_student", "checkpoint_every")
    return dataclasses.replace(config, **{name: getattr(found, name) for name in names})


def _train(
    config: Config,
    seconds: float,
    folder: Path,
    subjects: "list[data.Subject]",
    console: "Console",
    stop: Stop,
) -> None:
    """All stages that are not trained yet, in their order."""
    from experiments import build, train
    from qc_jax import models

    sources = build.chosen_sources(config)
    setting = Setting(folder, subjects, sources, console, stop)
    console.print(
        f"[bold]qc_jax[/] recipe of {seconds / 60:g} minutes, {len(subjects)} heads, {folder}"
    )
    stop.deadline -= time_box.KEPT_BACK / 4 * seconds
    end = stop.deadline - 3 * time_box.KEPT_BACK / 4 * seconds
    params: dict[str, Any] = {}
    programs: dict[str, Callable] = {}
    for name in [stage.name for stage in build.stages(config)]:
        stage = build.stage_named(config, name)
        frozen = train.frozen_for(stage, params)
        assert frozen is not None  # all stages before it are trained
        found = train.load_params(config, folder, stage, frozen)
        if found is None:
            if stage.group not in programs:
                programs[stage.group], config = _program(config, stage.group, frozen, setting, end)
                stage = build.stage_named(config, name)  # its number of steps is known now
            found = train.train_stage(
                config,
                folder,
                stage,
                subjects,
                frozen,
                console,
                stop,
                programs[stage.group],
                _allowed(stage, sources),
                time_box.every(SAVE_EVERY),
            )
        params[stage.name] = found
        path = train.weights_of(folder, stage)
        if not path.with_suffix(".json").exists():
            facts = {"learnt_from": train.digest(frozen), "steps": stage.steps}
            description = build.model_of(config, path, found, stage.sources).description
            models.save_model(path, description, found, facts, {})
        shutil.rmtree(folder / stage.name, ignore_errors=True)


# -- Programs and their time -----------------------------------------------------------------------


def _program(
    config: Config, group: str, frozen: "training.Frozen", setting: Setting, end: float
) -> tuple[Callable, Config]:
    """The compiled step of a group of stages, and the configuration with its number of steps."""
    from experiments import build, run_folder
    from qc_jax import files, training

    stages = [stage for stage in build.stages(config) if stage.group == group]
    sources = setting.sources if group == "teachers" else stages[0].sources
    step_function = build.step_of(config, stages[0], training.data_mesh(), sources)
    setting.console.print(f"{group}: compiling")
    seconds, speed = _time(step_function, config, stages, frozen, setting)
    path = setting.folder / "recipe.json"
    plan = run_folder.read_object(path) if path.exists() else {}
    told = f"{group}: compiled in {seconds:.0f} s, {speed:.2f} steps/s"
    if group in plan:
        setting.console.print(told)
        return step_function, config
    longest = max([seconds, *(entry["compilation_seconds"] for entry in plan.values())])
    share = time_box.seconds_for(group, end - time.monotonic(), longest)
    steps = time_box.steps_for(share, speed, len(stages))
    each = " each" if len(stages) > 1 else ""
    setting.console.print(f"{told}: {steps} steps{each} in {share:.0f} s")
    fixed: dict[str, Any] = {f"steps_{group}": steps}
    config = dataclasses.replace(config, **fixed)
    # In this order: a group that is not in the plan is timed again.
    files.write_json(setting.folder / "config.json", dataclasses.asdict(config))
    plan[group] = {"steps": steps, "steps_per_second": speed, "compilation_seconds": seconds}
    files.write_json(path, plan)
    return step_function, config


def _time(
    step_function: Callable,
    config: Config,
    stages: "list[Stage]",
    frozen: "training.Frozen",
    setting: Setting,
) -> tuple[float, float]:
    """Seconds of the compilation, and steps per second after it, on a state that is thrown away."""
    import jax

    from experiments import build
    from qc_jax import data, training
    from qc_jax.training import plateau

    mesh, first = training.data_mesh(), stages[0]
    task = frozen.task if config.start_from_task else None
    state = build.fresh_state(config, first, task)
    state = jax.device_put(state, training.replicated(mesh))
    key = jax.device_put(build.stage_key(config, first.name), training.replicated(mesh))
    batches = data.batches(setting.subjects, config.batch_size * mesh.size, config.seed)
    heads = jax.device_put(data.stacked_fractions(setting.subjects), training.replicated(mesh))
    turns = [build.Fixed(frozen, heads, _allowed(stage, setting.sources)) for stage in stages]
    turns = jax.device_put(turns, training.replicated(mesh))
    begun, compiled = time.monotonic(), math.inf
    for step in range(1 + TIMED_STEPS):
        batch = training.sharded(mesh, next(batches))
        state = plateau.with_learning_rate(state, config.learning_rate)
        state, metrics = step_function(state, key, batch, turns[step % len(turns)])
        metrics["loss"].block_until_ready()
        if step == 0:
            compiled = time.monotonic()
        setting.stop.check()
    return compiled - begun, TIMED_STEPS / (time.monotonic() - compiled)


def _allowed(stage: "Stage", sources: "tuple[Source, ...]") -> "jax.Array | None":
    """Which sources a teacher sees, whose program is that of all teachers."""
    import jax.numpy as jnp

    if stage.group != "teachers":
        return None
    return jnp.asarray([source in stage.sources for source in sources])


if __name__ == "__main__":
    sys.exit(main())
