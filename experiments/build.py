"""From the configuration to what it describes: stages, network, training step, model."""

import dataclasses
import functools
import importlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import limits
from experiments.presets import Config, LossConfig
from qc_jax import data, losses, training
from qc_jax.augment import ALL_SOURCES, Source
from qc_jax.data import cache
from qc_jax.errors import ConfigError
from qc_jax.models import Description, Model
from qc_jax.network import UNet, check_divisible, fresh_params
from qc_jax.training import distillation, plateau, sparse


def chosen_sources(config: Config) -> tuple[Source, ...]:
    """The sources named in the configuration: those of this package in the order in which they
    arise, then those of others as they are named.

    Raises:
      ConfigError: a name that no source has, one twice, or a module that cannot be imported.
    """
    ours = {source.name: source for source in ALL_SOURCES}
    chosen = [ours[name] if name in ours else _source_at(name) for name in config.sources]
    names = [source.name for source in chosen]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"--sources {' '.join(names)}: name at least one, and each once")
    return tuple(sorted(chosen, key=lambda source: [*ours, source.name].index(source.name)))


def _source_at(place: str) -> Source:
    """The source called `package.module:NAME`.

    Raises:
      ConfigError: there is none.
    """
    module, colon, name = place.partition(":")
    if not colon:
        known = ", ".join(source.name for source in ALL_SOURCES)
        raise ConfigError(f"--sources {place}: choose from {known}, or name package.module:NAME")
    try:
        source = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--sources {place}: {error}") from error
    if not isinstance(source, Source):
        raise ConfigError(f"--sources {place}: this is no qc_jax.augment.Source")
    return source


class Stage(NamedTuple):
    """The training of one network.

    Attributes:
      group: all teachers are one group, with one number of steps.
      name: the folder of its checkpoints.
      sources: artefacts that it sees, whose variances its network predicts.
      learns_from: names of the stages whose networks it learns from, the task network first.
      steps: training steps.
      loss: how its variances are compared to theirs; None for the task network, which has none.
    """

    group: Literal["task", "teachers", "student"]
    name: str
    sources: tuple[Source, ...]
    learns_from: tuple[str, ...]
    steps: int
    loss: LossConfig | None


def stages(config: Config) -> list[Stage]:
    """The task network, one teacher for each source, the student: in the order of their training.

    Raises:
      ConfigError: see `chosen_sources`.
    """
    sources = chosen_sources(config)
    task = Stage("task", "task", (), (), config.steps_task, None)
    teachers = [
        Stage(
            "teachers",
            f"teachers/{source.name}",
            (source,),
            (task.name,),
            config.steps_teachers,
            config.teacher_loss,
        )
        for source in sources
    ]
    names = (task.name, *(teacher.name for teacher in teachers))
    student = Stage("student", "student", sources, names, config.steps_student, config.student_loss)
    return [task, *teachers, student]


def stage_named(config: Config, name: str) -> Stage:
    """The stage of this name; StopIteration where there is none."""
    return next(stage for stage in stages(config) if stage.name == name)


def check(config: Config) -> None:
    """Raises ConfigError for values that cannot work together."""
    limits.check(config)
    chosen_sources(config)
    try:
        check_divisible(config.sample.patch, config.network.depth)
    except ValueError as error:
        raise ConfigError(f"--patch and --depth: {error}") from error
    patch, field_of_view = config.sample.patch, config.heads.field_of_view
    if any(p > n for p, n in zip(patch, field_of_view, strict=True)):
        raise ConfigError(f"--patch {patch} is larger than --field-of-view {field_of_view}")


def network_of(config: Config, num_sources: int) -> UNet:
    """The network of a stage with so many sources."""
    return UNet(num_sources=num_sources, **dataclasses.asdict(config.network))


def subjects_of(config: Config) -> list[data.Subject]:
    """All subjects of the data that a configuration names, see `data.load_subjects`."""
    heads = config.heads
    return data.load_subjects(
        heads.data,
        heads.voxel_size,
        heads.field_of_view,
        heads.subjects,
        config.seed,
        cache.default_folder(),
        heads.grey_matter_labels,
    )


def wanted_split(config: Config, subjects: Sequence[data.Subject]) -> dict[str, list[str]]:
    """Names for train, validation and test, from the file that is named or by 80/10/10."""
    names = [subject.name for subject in subjects]
    if config.heads.split:
        return data.read_split(Path(config.heads.split), names)
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
    groups = (config.network, config.sample, config.heads)
    given: dict[str, Any] = {}
    for group in groups:
        given |= dataclasses.asdict(group)
    names = [field.name for field in dataclasses.fields(Description) if field.name in given]
    described = {name: given[name] for name in names}
    description = Description(
        sources=tuple(source.name for source in sources),
        looks=tuple(source.looks for source in sources),
        **described,
    )
    return Model(path, "", description, params, {}, {})


class Fixed(NamedTuple):
    """What the steps of a stage are given and never change.

    Attributes:
      frozen: the networks that it learns from.
      heads: `(S, X, Y, Z, T)` uint8, tissue fractions from which images are drawn; None where the
        batches hold images.
      allowed: `(N,)` bool, which of the sources may appear: so a teacher of one source is trained
        by the program of all teachers; None for all of them.
    """

    frozen: training.Frozen
    heads: jax.Array | np.ndarray | None = None
    allowed: jax.Array | None = None


def learning_rate_of(config: Config, stage: Stage, step: int) -> float:
    """Of Adam at a step, from 0, before the plateau rule: a number, or nnU-Net's decay."""
    if not config.learning_rate_decay:
        return config.learning_rate
    return config.learning_rate * (1.0 - step / stage.steps) ** 0.9


def fresh_state(config: Config, stage: Stage, task=None) -> training.TrainState:
    """The state before the first step of a stage; with `task`, the parameters of the task network,
    it starts from them."""
    network = network_of(config, len(stage.sources))
    params = fresh_params(network, stage_key(config, stage.name), config.sample.patch)
    if task is not None:
        params = training.start_from(task, params)
    return training.init_state(params, plateau.adam(config.learning_rate, config.plateau))


def step_of(config: Config, stage: Stage, mesh):
    """The compiled training step of the stages of a group, which differ in `Fixed.allowed` alone:
    `(state, key, batch, Fixed) -> (state, metrics)`."""
    return training.train_step(
        mesh,
        _sampling(config, _shown(config, stage), with_teachers=stage.group == "student"),
        _loss(config, stage),
        plateau.adam(config.learning_rate, config.plateau),
    )


def fixed_for(
    config: Config, stage: Stage, frozen: training.Frozen, subjects: Sequence[data.Subject]
) -> Fixed:
    """What the steps of a stage are given."""
    shown = _shown(config, stage)
    allowed = jnp.asarray([source in stage.sources for source in shown])
    heads = data.stacked_fractions(subjects)
    return Fixed(frozen, heads, allowed if shown != stage.sources else None)


def _shown(config: Config, stage: Stage) -> tuple[Source, ...]:
    """The sources in the program of a stage: teachers share one, with those of all of them."""
    return chosen_sources(config) if stage.group == "teachers" else stage.sources


def _sampling(config: Config, sources: tuple[Source, ...], with_teachers: bool):
    """What is seen of a scan of the batch, or of one that is drawn from a head."""

    def sample(key, scan, fixed: Fixed) -> training.Sample:
        if fixed.heads is None:
            image, labels = scan["image"], scan["labels"].astype(jnp.int32)
        else:
            key, scan_key = jax.random.split(key)
            head = fixed.heads[scan["subject"]]
            image, labels = training.make_scan(scan_key, head, config.sample.deformation)
        return training.make_sample(
            key, image, labels, sources, config.sample, with_teachers, fixed.allowed
        )

    return sample


def _loss(config: Config, stage: Stage):
    """The loss of a stage, with its epsilon and learning rate as metrics."""
    network = network_of(config, len(stage.sources))
    compare = _comparison(stage.loss) if stage.loss else losses.consistency
    ask = {"zero": sparse.where_present, "teacher": sparse.everywhere}[config.absent_source]

    def loss(params, samples, fixed: Fixed, state: training.TrainState):
        epsilon = plateau.epsilon(config.plateau, state.optimiser)
        segment: distillation.Segment = functools.partial(losses.combined_loss, epsilon=epsilon)
        if stage.group == "task":
            segment = distillation.warm_up(segment, state.step < config.warm_up)
        value, metrics = training.stage_loss(
            params, samples, network, fixed.frozen, segment, compare, ask
        )
        rate = optax.tree.get(state.optimiser, "learning_rate") * plateau.scale(state.optimiser)
        return value, metrics | {"epsilon": epsilon, "learning_rate": rate}

    return loss


def _comparison(config: LossConfig) -> distillation.Compare:
    """Eq. 7 as it is configured."""
    function = {"variance": losses.consistency, "log_variance": losses.log_consistency}
    consistency = function[config.consistency_of]
    return lambda predicted, target: (
        config.weight
        * consistency(predicted, target, config.gradient_weight, config.ssim_weight, config.norm)
    )


def stage_key(config: Config, name: str) -> jax.Array:
    """Of everything random in the stage of this name."""
    return jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(name.encode()))
