"""The source head of `experiments.recipe`: heads are scanned on the processors while an accelerator
trains the networks, and the head learns from what there is by then."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from experiments import acquired, build, kept, scanning, time_box
from experiments.presets import Config
from experiments.refine import features, heads
from experiments.signals import Stop
from qc_jax.errors import ConfigError
from qc_jax.models import Model, load_model, save_model

ENOUGH = 160
"""Scanned heads that are waited for where there is nothing else to do."""
MOST_STEPS = 4000
_TIMED_STEPS = 50
"""After the compilation."""
_MOST_DRAWS = 10_000
_FOR_FEATURES = 0.5
"""Share of the time in which features of the draws are computed; the rest is the training's."""


@contextlib.contextmanager
def scanned(config: Config, path: Path, folder: Path, number: int, stop: Stop) -> Iterator[None]:
    """Within the block, heads are scanned into `draws` in the folder; in its end until there are
    `ENOUGH`, or until the deadline.

    Args:
      config: of the run, whose grid they come to.
      path: of the heads, see `scanning.write_heads`.
      folder: of the run.
      number: of processes; 0 for two less than there are processors.
      stop: whose deadline is that of the block.

    Raises:
      ConfigError: no such heads, or a source that no scanner's artefact causes.
    """
    number = number or max((os.cpu_count() or 1) - 2, 1)
    scanning.turns_in(path)  # which says what is wrong with the file
    description = build.model_of(config, path, {}, build.chosen_sources(config)).description
    acquired.check_sources(description.sources)
    draws = folder / "draws"
    draws.mkdir(exist_ok=True)
    with scanning.processes(path, description, config.seed, draws, number, _MOST_DRAWS) as started:
        yield
        while len(scanning.made(draws, _MOST_DRAWS)) < ENOUGH and time.monotonic() < stop.deadline:
            scanning.check(started)
            time.sleep(scanning.PAUSE)


def train(config: Config, folder: Path, console: Console, stop: Stop) -> None:
    """Writes `weights/sources.safetensors`: the student with a source head, not calibrated.

    Args:
      config: of the run.
      folder: of the run, with `weights/student.safetensors` and `draws`.
      console: where progress is said.
      stop: whose deadline is that of the training as well.
    """
    target = folder / "weights" / "sources.safetensors"
    if target.exists():
        return
    model = features.with_source_head(load_model(folder / "weights" / "student.safetensors"))
    begun = time.monotonic()
    until = begun + _FOR_FEATURES * (stop.deadline - begun)
    seen = []
    for number in scanning.made(folder / "draws", _MOST_DRAWS):
        stop.check()
        if time.monotonic() > until:
            break
        seen.append(_features_of(config, model, folder, number))
    if not seen:
        raise ConfigError(
            f"no head was scanned in the time of {folder}; call again, with more --minutes"
        )
    console.print(f"source head: {len(seen)} scanned heads in {time.monotonic() - begun:.0f} s")
    blocks = heads.blocks_of(seen)
    speed = _speed(blocks, config.seed, stop)
    left = (1 - time_box.KEPT_BACK) * (stop.deadline - time.monotonic())
    steps = min(time_box.steps_for(left, speed, 1), MOST_STEPS)
    console.print(f"source head: {steps} steps, {speed:.1f} steps/s")
    schedule = heads.Schedule(steps, seed=config.seed)
    student = heads.train(blocks, schedule, _checking(stop))
    params = {"params": {**model.params["params"], "sources": student}}
    facts = {**model.training, "source head": f"{len(seen)} scanned heads, {steps} steps"}
    save_model(target, model.description, params, facts, {})


def _features_of(config: Config, model: Model, folder: Path, number: int) -> features.Features:
    def make() -> features.Features:
        with np.load(acquired.path_of(folder / "draws", number)) as arrays:
            draw = acquired.Draw(**arrays)
        return features.of_draw(model, draw, np.random.default_rng([config.seed, number]))

    path = acquired.path_of(folder / "features", number)
    return kept.arrays_or_make(path, features.Features, make)


def _speed(blocks: heads.Blocks, seed: int, stop: Stop) -> float:
    """Steps per second, after the compilation."""
    times: list[float] = []

    def advance(loss: jax.Array) -> None:
        loss.block_until_ready()
        times.append(time.monotonic())
        stop.check()

    heads.train(blocks, heads.Schedule(1 + _TIMED_STEPS, seed=seed), advance)
    return _TIMED_STEPS / (times[-1] - times[0])


def _checking(stop: Stop) -> Callable[[jax.Array], None]:
    def advance(loss: jax.Array) -> None:
        stop.check()

    return advance
