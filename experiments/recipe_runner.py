"""The recipe at work: stages in their order, each for its share of the time; see `recipe`."""

import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from rich.console import Console

from experiments import build, bundle, run_folder, time_box, train
from experiments.build import Stage
from experiments.presets import Config
from experiments.refine import in_time
from experiments.signals import Stop
from qc_jax import data, files, models, training
from qc_jax.augment import Source
from qc_jax.data import cache
from qc_jax.errors import ConfigError
from qc_jax.training import plateau

if TYPE_CHECKING:
    from experiments.recipe import Arguments

SAVE_EVERY = 120.0
"""Seconds between the checkpoints of a stage."""
TIMED_STEPS = 12
"""Steps, after the compilation, by which a program is timed."""


class Setting(NamedTuple):
    """What is the same for all stages."""

    folder: Path
    subjects: list[data.Subject]
    sources: tuple[Source, ...]
    console: Console
    stop: Stop


def run(arguments: "Arguments", stop: Stop) -> None:
    """Trains until all is done or the time is over, and packs what there is."""
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


def _prepare(config: Config, folder: Path) -> tuple[Config, list[data.Subject]]:
    """The configuration with the steps that are fixed already, and the heads to train on."""
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
    subjects: list[data.Subject],
    console: Console,
    stop: Stop,
) -> None:
    """All stages that are not trained yet, in their order."""
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
                time_box.every(SAVE_EVERY),
            ).params
        params[stage.name] = found
        path = train.weights_of(folder, stage)
        if not path.with_suffix(".json").exists():
            facts = {"learnt_from": train.digest(frozen), "steps": stage.steps}
            description = build.model_of(config, path, found, stage.sources).description
            models.save_model(path, description, found, facts, {})
        shutil.rmtree(folder / stage.name, ignore_errors=True)


# -- Programs and their time -----------------------------------------------------------------------


def _program(
    config: Config, group: str, frozen: training.Frozen, setting: Setting, end: float
) -> tuple[Callable, Config]:
    """The compiled step of a group of stages, and the configuration with its number of steps."""
    stages = [stage for stage in build.stages(config) if stage.group == group]
    step_function = build.step_of(config, stages[0], training.data_mesh())
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
    stages: list[Stage],
    frozen: training.Frozen,
    setting: Setting,
) -> tuple[float, float]:
    """Seconds of the compilation, and steps per second after it, on a state that is thrown away."""
    mesh, first = training.data_mesh(), stages[0]
    task = frozen.task if config.start_from_task else None
    state = build.fresh_state(config, first, task)
    state = jax.device_put(state, training.replicated(mesh))
    key = jax.device_put(build.stage_key(config, first.name), training.replicated(mesh))
    batches = data.batches(setting.subjects, config.batch_size * mesh.size, config.seed)
    turns = [build.fixed_for(config, stage, frozen, setting.subjects) for stage in stages]
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
