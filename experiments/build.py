"""From the configuration to what it describes: sources, network, training step, model."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import limits
from experiments.presets import Config
from qc_jax import data, training
from qc_jax.augment import ALL_SOURCES, Source
from qc_jax.data import cache
from qc_jax.errors import ConfigError
from qc_jax.models import Description, Model
from qc_jax.network import UNet, check_divisible


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


def sources_of(stage: str, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources whose variances the network of a stage predicts."""
    name = stage.removeprefix("teachers/")
    return sources if stage == "student" else tuple(s for s in sources if s.name == name)


def check(config: Config) -> None:
    """Raises ConfigError for values that cannot work together."""
    limits.check(config)
    chosen_sources(config)
    try:
        check_divisible(config.patch, config.depth)
    except ValueError as error:
        raise ConfigError(f"--patch and --depth: {error}") from error
    if any(p > n for p, n in zip(config.patch, config.field_of_view, strict=True)):
        raise ConfigError(
            f"--patch {config.patch} is larger than --field-of-view {config.field_of_view}"
        )


def network_of(config: Config, num_sources: int) -> UNet:
    """The network of a stage with so many sources."""
    return UNet(
        num_sources=num_sources,
        base_features=config.base_features,
        depth=config.depth,
        level_head=config.level_head,
        windows_per_scan=config.patches_per_scan,
        dtype=jnp.dtype(config.precision),
    )


def subjects_of(config: Config) -> list[data.Subject]:
    """All subjects of the data that a configuration names, see `data.load_subjects`."""
    return data.load_subjects(
        config.data,
        config.voxel_size,
        config.field_of_view,
        config.subjects,
        config.seed,
        cache.default_folder(),
        config.grey_matter_labels,
    )


def wanted_split(config: Config, subjects: Sequence[data.Subject]) -> dict[str, list[str]]:
    """Names for train, validation and test, from the file that is named or by 80/10/10."""
    names = [subject.name for subject in subjects]
    if config.split:
        return data.read_split(Path(config.split), names)
    return data.split_subjects(names, config.seed)


def heads_for(description: Description, source: str, number: int, seed: int) -> list[data.Subject]:
    """Heads from which images can be drawn, on the grid of a model.

    Args:
      description: of the model.
      source: `labels:DIR`, or empty for the embedded population.
      number: size of the embedded population.
      seed: of the embedded population.

    Raises:
      ConfigError: these are images.
    """
    grid = description.voxel_size, description.field_of_view
    subjects = data.load_subjects(source, *grid, number, seed, cache.default_folder())
    if any(subject.fractions is None for subject in subjects):
        raise ConfigError("--data: label maps or the embedded population are needed")
    return subjects


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
        stage_key(config, stage),
        network_of(config, num_sources),
        config.patch,
        learning_rate_of(config, stage),
        plateau_of(config),
        task,
    )


def step_of(
    config: Config,
    stage: str,
    mesh,
    sources: tuple[Source, ...],
    frozen: training.Frozen,
    heads: np.ndarray | None,
    shared: bool = False,
):
    """The compiled training step of a stage, see `training.make_train_step`; `shared` for one that
    serves the networks of all sources, each of which has but one, see `training.Turn`."""
    return training.make_train_step(
        mesh,
        network_of(config, 1 if shared else len(sources)),
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
            deformation=config.deformation,
        ),
        training.LossConfig(
            warm_up=config.warm_up,
            teacher_input=config.teacher_input,
            consistency_of=(
                config.student_consistency_of if frozen.teachers else config.consistency_of
            ),
            absent_source=config.absent_source,
            consistency_norm=config.student_consistency_norm if frozen.teachers else 1,
            consistency_weight=(
                config.student_consistency_weight if frozen.teachers else config.consistency_weight
            ),
            gradient_weight=config.gradient_weight,
            ssim_weight=config.ssim_weight,
        ),
        learning_rate_of(config, stage),
        plateau_of(config),
        heads,
    )


def stage_key(config: Config, stage: str) -> jax.Array:
    """Of everything random in a stage."""
    return jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(stage.encode()))
