"""Trains the network of one stage: data, network, frozen networks, step, checkpoint, loop."""

import hashlib
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from experiments import run_folder
from experiments.presets import Config
from experiments.signals import Stop
from qc_jax import data, training
from qc_jax.augment import ALL_SOURCES, Source
from qc_jax.errors import CheckpointError, ConfigError, DivergedError
from qc_jax.models import Description, Model, save_model
from qc_jax.network import UNet, check_divisible
from qc_jax.scoring import calibration
from qc_jax.training import checkpoints

SKIPPED_IN_A_ROW = 5
"""So many steps with a loss that is not finite end the training."""


def chosen_sources(config: Config) -> tuple[Source, ...]:
    """The sources named in the configuration, in the order in which they arise.

    Raises:
      ConfigError: a name that no source has, or one twice.
    """
    known = {source.name: source for source in ALL_SOURCES}
    unknown = [name for name in config.sources if name not in known]
    if unknown or len(set(config.sources)) != len(config.sources) or not config.sources:
        raise ConfigError(
            f"--sources {' '.join(config.sources)}: choose from {', '.join(known)}, each once"
        )
    return tuple(source for source in ALL_SOURCES if source.name in config.sources)


def check(config: Config) -> None:
    """Raises ConfigError for values that cannot work together."""
    chosen_sources(config)
    try:
        check_divisible(config.patch, config.depth)
    except ValueError as error:
        raise ConfigError(f"--patch and --depth: {error}") from error
    if any(p > n for p, n in zip(config.patch, config.field_of_view, strict=True)):
        raise ConfigError(
            f"--patch {config.patch} is larger than --field-of-view {config.field_of_view}"
        )
    for name in (
        "batch_size",
        "patches_per_scan",
        "patch_candidates",
        "base_features",
        "depth",
        "log_every",
    ):
        if getattr(config, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} has to be at least 1")
    if not 0 <= config.artefact_rate < 1:
        raise ConfigError("--artefact-rate has to lie in [0, 1)")
    if not 0 <= config.overlap < 1:
        raise ConfigError("--overlap has to lie in [0, 1)")


def network_of(config: Config, num_sources: int) -> UNet:
    """The network of a stage with so many sources."""
    return UNet(
        num_sources=num_sources,
        base_features=config.base_features,
        depth=config.depth,
        level_head=config.level_head,
    )


def model_of(config: Config, path: Path, params, sources: Sequence[Source]) -> Model:
    """A network with what scoring needs, not calibrated; `path` is where it may be written."""
    description = Description(
        sources=tuple(source.name for source in sources),
        base_features=config.base_features,
        depth=config.depth,
        level_head=config.level_head,
        patch=config.patch,
        voxel_size=config.voxel_size,
        field_of_view=config.field_of_view,
    )
    return Model(path, "", description, params, {}, {})


def export(config: Config, model: Model, scored: Sequence[calibration.KnownScan]) -> Model:
    """Writes the student as weights that can be scored with, calibrated on validation scans."""
    training_facts = {
        "data": "label maps" if config.data.startswith("labels:") else "images with labels",
        "steps": f"task {config.steps_task}, each teacher {config.steps_teachers}, "
        f"student {config.steps_student}",
        "validation scans": len(scored),
    }
    if not config.data:
        training_facts["data"] = "embedded population"
    several = len({scan.subject for scan in scored}) > 1
    known = calibration.fit(scored, model.description.sources) if several else {}
    return save_model(model.path, model.description, model.params, training_facts, known)


def plateau_of(config: Config) -> training.PlateauConfig:
    """The plateau rule's part of the configuration."""
    return training.PlateauConfig(
        config.epsilon,
        config.smallest_epsilon,
        config.plateau_window,
        config.plateau_patience,
        config.plateau_threshold,
    )


def steps_of(config: Config, stage: str) -> int:
    """Training steps of a stage."""
    if stage in ("task", "student"):
        return config.steps_task if stage == "task" else config.steps_student
    return config.steps_teachers


def learning_rate_of(config: Config, stage: str) -> optax.ScalarOrSchedule:
    """Of Adam in a stage: a number, or nnU-Net's polynomial decay."""
    if not config.learning_rate_decay:
        return config.learning_rate
    return optax.polynomial_schedule(config.learning_rate, 0.0, 0.9, steps_of(config, stage))


def fresh_state(config: Config, stage: str, num_sources: int, task=None) -> training.TrainState:
    """The state before the first step of a stage."""
    return training.init_state(
        _stage_key(config, stage),
        network_of(config, num_sources),
        config.patch,
        learning_rate_of(config, stage),
        plateau_of(config),
        task,
    )


def step_of(config: Config, stage: str, mesh, sources: tuple[Source, ...], frozen: training.Frozen):
    """The compiled training step of a stage, see `training.make_train_step`."""
    return training.make_train_step(
        mesh,
        network_of(config, len(sources)),
        sources,
        frozen,
        training.SampleConfig(
            patch=config.patch,
            patches=config.patches_per_scan,
            candidates=config.patch_candidates,
            artefact_rate=config.artefact_rate,
            bias_field=config.bias_field,
            rotation=config.rotation,
            scaling=config.scaling,
            flips=config.flips,
        ),
        training.LossConfig(
            warm_up=config.warm_up,
            teacher_input=config.teacher_input,
            consistency_of=(
                config.student_consistency_of if frozen.teachers else config.consistency_of
            ),
            absent_source=config.absent_source,
            absent_weight=config.absent_weight,
            consistency_weight=(
                config.student_consistency_weight if frozen.teachers else config.consistency_weight
            ),
            gradient_weight=config.gradient_weight,
            ssim_weight=config.ssim_weight,
        ),
        learning_rate_of(config, stage),
        plateau_of(config),
    )


def load_params(
    config: Config, folder: Path, stage: str, num_sources: int, frozen: training.Frozen | None
):
    """Parameters of a stage that is trained to its end, or None.

    Args:
      config: of the run.
      folder: of the run.
      stage: `task`, `teachers/<source>` or `student`.
      num_sources: of its network.
      frozen: networks that it has to have learnt from; None where they are not there to compare.

    Raises:
      CheckpointError: not readable, or learnt from other networks than `frozen`.
    """
    if not (folder / stage).is_dir():
        return None
    with checkpoints.open_manager(folder / stage) as manager:
        if manager.latest_step() != steps_of(config, stage):
            return None
        like = jax.eval_shape(lambda: fresh_state(config, stage, num_sources))
        sharding = training.replicated(training.data_mesh(1))
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like
        )
        state, saved = checkpoints.restore(manager, like)
    if frozen is not None:
        _check_learnt_from(folder / stage, saved, frozen)
    return state.params if int(state.step) == steps_of(config, stage) else None


def train_stage(
    config: Config,
    folder: Path,
    stage: str,
    subjects: Sequence[data.Subject],
    sources: tuple[Source, ...],
    frozen: training.Frozen,
    console: Console,
    stop: Stop,
):
    """Trains from the last checkpoint, or from the start, to the end; returns the parameters.

    Args:
      config: of the run.
      folder: of the run.
      stage: `task`, `teachers/<source>` or `student`: also the folder of its checkpoints.
      subjects: to train on.
      sources: artefacts that this stage sees.
      frozen: networks that it learns from.
      console: for the progress line.
      stop: asked after every step.

    Raises:
      StoppedError: after SIGINT or SIGTERM, with a checkpoint saved.
      DivergedError: the loss was not finite in several steps in a row.
      CheckpointError: the checkpoints are damaged, or of other networks.
      OutputError: a checkpoint cannot be written.
    """
    steps = steps_of(config, stage)
    # -- Step and state --------------------------------------------------------------------------
    mesh = training.data_mesh()
    step_function = step_of(config, stage, mesh, sources, frozen)
    task = frozen.task if config.start_from_task else None
    state = fresh_state(config, stage, len(sources), task)
    state = jax.device_put(state, training.replicated(mesh))
    key = _stage_key(config, stage)
    stage_seed = (config.seed + zlib.crc32(stage.encode())) % 2**31
    iterator = data.batches(subjects, config.batch_size * mesh.size, stage_seed)

    # -- Checkpoint ------------------------------------------------------------------------------
    manager = checkpoints.open_manager(folder / stage)
    restored = checkpoints.restore(manager, state)
    learnt_from = digest(frozen)
    if restored is not None:
        state, saved = restored
        _check_learnt_from(folder / stage, saved, frozen)
        iterator.set_state(saved["iterator"])
    first = int(state.step)
    metrics_path = folder / "metrics.jsonl"
    run_folder.forget_metrics_after(metrics_path, stage, first)

    # -- Loop ------------------------------------------------------------------------------------
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    )
    with (
        manager,
        SummaryWriter(str(folder / "tensorboard" / stage)) as writer,
        Progress(*columns, console=console) as progress,
    ):
        line = progress.add_task(stage, total=steps, completed=first, numbers="compiling")
        since, since_step, skipped = time.monotonic(), first, 0
        for step in range(first + 1, steps + 1):
            batch = next(iterator)
            heads = batch.pop("subject")
            state, metrics = step_function(state, key, batch)
            if metrics.pop("finite"):
                skipped = 0
            else:
                skipped += 1
                names = ", ".join(sorted({subjects[i].name for i in heads}))
                progress.console.print(f"{stage}: no finite loss at step {step} ({names}): skipped")
                if skipped == SKIPPED_IN_A_ROW:
                    raise DivergedError(
                        f"{stage}: the loss was not finite in {skipped} steps in a row, the last "
                        f"with {names}; the last checkpoint is good: look at these scans, or try "
                        "a smaller --learning-rate or a larger --epsilon in a new --run-dir"
                    )
            if step % config.log_every == 0 or step == steps:
                record = {name: float(value) for name, value in metrics.items()}
                speed = (step - since_step) / (time.monotonic() - since)
                since, since_step = time.monotonic(), step
                run_folder.append_metrics(
                    metrics_path,
                    {"stage": stage, "step": step, "steps_per_second": speed, **record},
                )
                for name, value in record.items():
                    writer.add_scalar(name, value, step)
                numbers = (
                    f"loss {record['loss']:.3f}  Dice {record['dice']:.2f}  {speed:.1f} steps/s"
                )
                progress.update(line, completed=step, numbers=numbers)
                if not console.is_terminal and step % (5 * config.log_every) == 0:
                    console.print(f"{stage} {step}/{steps}  {numbers}")
            if step % config.checkpoint_every == 0 or step == steps or stop.requested:
                position = {"iterator": iterator.get_state(), "learnt_from": learnt_from}
                checkpoints.save(manager, state, position)
            stop.check()
    return state.params


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


def _stage_key(config: Config, stage: str) -> jax.Array:
    return jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(stage.encode()))
