"""Trains the network of one stage: data, network, frozen networks, step, checkpoint, loop."""

import hashlib
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from rich.console import Console

from experiments import build, hosts
from experiments.build import Stage
from experiments.log import Log, open_log
from experiments.presets import Config
from experiments.signals import Stop
from qc_jax import data, training
from qc_jax.errors import CheckpointError, DivergedError
from qc_jax.models import load_model
from qc_jax.training import checkpoints, plateau

SKIPPED_IN_A_ROW = 5
"""So many steps with a loss that is not finite end the training."""


def frozen_for(stage: Stage, params: Mapping[str, Any]) -> training.Frozen | None:
    """The networks that a stage learns from, or None where one of them is not there.

    Args:
      stage: that learns.
      params: by the names of the stages before it; None for one that is not trained.
    """
    if not stage.learns_from:
        return training.Frozen()
    task, *teachers = [params[name] for name in stage.learns_from]
    if any(found is None for found in (task, *teachers)):
        return None
    return training.Frozen(task, tuple(teachers))


def load_params(config: Config, folder: Path, stage: Stage, frozen: training.Frozen | None):
    """Parameters of a stage that is trained to its end, or None.

    Args:
      config: of the run.
      folder: of the run.
      stage: whose parameters are asked for.
      frozen: networks that it has to have learnt from; None where they are not there to compare.

    Raises:
      CheckpointError: not readable, or learnt from other networks than `frozen`.
    """
    written = weights_of(folder, stage)
    if written.with_suffix(".json").exists():
        model = load_model(written)
        if frozen is not None:
            _check_learnt_from(written, model.training, frozen)
        return jax.tree.map(jnp.asarray, model.params)
    if not (folder / stage.name).is_dir():
        return None
    with checkpoints.open_manager(folder / stage.name) as manager:
        if manager.latest_step() != stage.steps:
            return None
        like = jax.eval_shape(lambda: build.fresh_state(config, stage))
        sharding = training.replicated(training.data_mesh())
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like
        )
        restored = checkpoints.restore(manager, like)
    if restored is None:
        return None
    state, saved = restored
    if frozen is not None:
        _check_learnt_from(folder / stage.name, saved, frozen)
    if int(state.step) != stage.steps:
        return None
    return _on_this_process(state.params)


class Trained(NamedTuple):
    """What comes out of the training of a stage.

    Attributes:
      params: of the network.
      compiling, stepping: seconds to the end of the first step of this call, and of all others.
    """

    params: Any
    compiling: float
    stepping: float


def train_stage(
    config: Config,
    folder: Path,
    stage: Stage,
    subjects: Sequence[data.Subject],
    frozen: training.Frozen,
    console: Console,
    stop: Stop,
    step_function: Callable,
    save_at: Callable[[int], bool] | None = None,
) -> Trained:
    """Trains from the last checkpoint, or from the start, to the end.

    Args:
      config: of the run.
      folder: of the run.
      stage: to train.
      subjects: to train on.
      frozen: networks that it learns from.
      console: for the progress line.
      stop: asked after every step.
      step_function: see `build.step_of`.
      save_at: whether to save a checkpoint at a step; by default `config.checkpoint_every`.

    Raises:
      StoppedError: after SIGINT, SIGTERM or the deadline, with a checkpoint saved.
      DivergedError: the loss was not finite in several steps in a row.
      CheckpointError: the checkpoints are damaged, or of other networks.
      OutputError: a checkpoint cannot be written.
    """
    mesh = training.data_mesh()
    compiled = begun = time.monotonic()
    fixed = jax.device_put(
        build.fixed_for(config, stage, frozen, subjects), training.replicated(mesh)
    )
    save_at = save_at or _every(config.checkpoint_every)
    state, key = _fresh(config, stage, frozen, mesh)
    iterator = _batches(config, stage, subjects, mesh)
    manager = checkpoints.open_manager(folder / stage.name)
    learnt_from = digest(frozen)
    restored = checkpoints.restore(manager, state)
    if restored is not None:
        state, position = restored
        _check_learnt_from(folder / stage.name, position, frozen)
        iterator.set_state(position["iterator"])
    first, several = int(state.step), jax.process_count() > 1
    with manager, open_log(config, folder, stage, first, console) as log:
        # While the first step is compiled nothing can be lost, but by the other processes.
        stop.at_stake = several
        for step in range(first + 1, stage.steps + 1):
            batch = next(iterator)
            rate = build.learning_rate_of(config, stage, step - 1)
            state = plateau.with_learning_rate(state, rate)
            state, metrics = step_function(state, key, training.sharded(mesh, batch), fixed)
            # From here on the step is done.
            skipped = int(optax.tree.get(state.optimiser, "notfinite_count"))
            stop.at_stake = True
            compiled = time.monotonic() if step == first + 1 else compiled
            if skipped:
                _say_skipped(stage.name, step, skipped, batch, subjects, log)
            if step % config.log_every == 0 or step == stage.steps:
                log.write(step, {metric: float(value) for metric, value in metrics.items()})
            stopped = hosts.any_of(stop.requested)
            if save_at(step) or step == stage.steps or stopped:
                position = {"iterator": iterator.get_state(), "learnt_from": learnt_from}
                checkpoints.save(manager, state, position)
                stop.at_stake = several
            if stopped:
                stop.end()
    params = _on_this_process(state.params)
    return Trained(params, compiled - begun, time.monotonic() - compiled)


def _every(number: int) -> Callable[[int], bool]:
    return lambda step: step % number == 0


def _fresh(
    config: Config, stage: Stage, frozen: training.Frozen, mesh: Mesh
) -> tuple[training.TrainState, jax.Array]:
    """State and key of a stage at its start, on all devices."""
    everywhere = training.replicated(mesh)
    state = build.fresh_state(config, stage, frozen.task if config.start_from_task else None)
    # The key is made on all devices: `device_put` takes no typed key to those of other processes.
    make_key = jax.jit(build.stage_key, static_argnums=(0, 1), out_shardings=everywhere)
    return jax.device_put(state, everywhere), make_key(config, stage.name)


def _batches(config: Config, stage: Stage, subjects: Sequence[data.Subject], mesh: Mesh):
    """Those of this process, see `data.batches`."""
    seed = (config.seed + zlib.crc32(stage.name.encode())) % 2**31
    part, parts = jax.process_index(), jax.process_count()
    return data.batches(subjects, config.batch_size * mesh.size // parts, seed, part, parts)


def _say_skipped(
    name: str,
    step: int,
    skipped: int,
    batch: Mapping[str, Any],
    subjects: Sequence[data.Subject],
    log: Log,
) -> None:
    """Raises DivergedError where it is one too many in a row."""
    scans = ", ".join(sorted({subjects[i].name for i in batch["subject"]}))
    log.say(f"no finite loss at step {step} ({scans}): skipped")
    if skipped == SKIPPED_IN_A_ROW:
        raise DivergedError(
            f"{name}: the loss was not finite in {skipped} steps in a row, the last with {scans}; "
            "the last checkpoint is good: look at these scans, or try a smaller --learning-rate or "
            "a larger --plateau.epsilon in a new --run-dir"
        )


def weights_of(folder: Path, stage: Stage) -> Path:
    """The file of a stage's final weights, in a run whose checkpoints had to be small."""
    return folder / "weights" / f"{stage.name}.safetensors"


def _on_this_process(params):
    """Parameters that every device of every process has, as arrays of this process alone."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), params)


def digest(frozen: training.Frozen) -> str:
    """SHA-256 over all parameters of frozen networks: these very networks, or not."""
    found = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(frozen):
        found.update(jax.tree_util.keystr(path).encode())
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def _check_learnt_from(folder: Path, saved: dict, frozen: training.Frozen) -> None:
    if saved["learnt_from"] != digest(frozen):
        raise CheckpointError(
            f"{folder} learnt from other networks than are there now, since the task network or a "
            "teacher was trained again; remove it to train this stage again"
        )
