"""Source heads by the method's own chain: task, teachers, student (section 3), on kept features.

The network below them stays as it is.  A head of the task learns the variance of clean scans
(Eq. 4), a teacher for each source that of clean scans and of those with its artefact beside the
task's (Eq. 6), and the student's head all of them together (Eq. 5), held to its teachers (Eq. 7).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.refine.features import Features
from qc_jax import losses, uncertainty
from qc_jax.source_head import Evidence, SourceHead

EPSILON = 1e-3
"""Of Eq. 4, where the plateau rule ends."""
_SHARE = 4
"""The student's steps over those of the task's head and of each teacher, which have less to learn."""
_LOG_FLOOR = float(np.log(uncertainty.VARIANCE_FLOOR))


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How a head is trained.

    Attributes:
      steps: of AdamW.
      blocks: in a step.
      learning_rate: falls to zero as (1 - step / steps)^0.9.
      weight_decay: of AdamW.
      dropped: share of the blocks whose k-space as a whole is hidden, so that what is seen in a
        place counts.
      consistency_weight: of Eq. 7 in the student.
      seed: of everything random.
    """

    steps: int = 2400
    blocks: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropped: float = 0.25
    consistency_weight: float = 1.0
    seed: int = 0


class Blocks(NamedTuple):
    """All blocks of many draws, `B` of them; see `Features`.

    Attributes:
      local, slices, cross_entropy, task, region, inside: `(B, ...)`.
      scan, axes: `(S, ...)`, of scans.
      present: `(S, N)`, of scans.
      of_scan: `(B,)`, which scan a block is of.
      of_clean: `(B,)`, the block of the clean version at the same place.
      of_alone: `(B, N)`, the block of the version with a cause alone, -1 where the cause is absent,
        -2 where that version has it in another part.
    """

    local: np.ndarray
    slices: np.ndarray
    cross_entropy: np.ndarray
    task: np.ndarray
    region: np.ndarray
    inside: np.ndarray
    scan: np.ndarray
    axes: np.ndarray
    present: np.ndarray
    of_scan: np.ndarray
    of_clean: np.ndarray
    of_alone: np.ndarray


def blocks_of(draws: Sequence[Features]) -> Blocks:
    """The blocks of all versions of all draws."""
    of_scan, of_clean, of_alone = [], [], []
    scans = blocks = 0
    for found in draws:
        versions, number, sources = *found.local.shape[:2], found.present.shape[1]
        block = np.arange(number)
        for version in range(versions):
            of_scan.append(np.full(number, scans + version))
            of_clean.append(blocks + block)
            alone = np.full((number, sources), -1)
            for source in np.flatnonzero(np.isfinite(found.present[version])):
                first = int(np.flatnonzero(np.isfinite(found.present[1:, source]))[0]) + 1
                same = found.comparable[version, source]
                alone[:, source] = blocks + first * number + block if same else -2
            of_alone.append(alone)
        scans += versions
        blocks += versions * number

    def row(name: str) -> np.ndarray:
        return np.concatenate([getattr(found, name) for found in draws])

    def merged(name: str) -> np.ndarray:
        arrays = [getattr(found, name) for found in draws]
        return np.concatenate([array.reshape(-1, *array.shape[2:]) for array in arrays])

    return Blocks(
        *(merged(n) for n in ("local", "slices", "cross_entropy", "task", "region", "inside")),
        *(row(n) for n in ("scan", "axes", "present")),
        np.concatenate(of_scan),
        np.concatenate(of_clean),
        np.concatenate(of_alone),
    )


class Batch(NamedTuple):
    """Blocks as a head sees them, and what it is compared with."""

    local: jax.Array
    evidence: Evidence
    cross_entropy: jax.Array
    task: jax.Array
    inside: jax.Array


def batch_of(blocks: Blocks, chosen: np.ndarray, hidden: np.ndarray | None = None) -> Batch:
    """Some blocks; of the `hidden` ones, bool, the scan as a whole is replaced by the mean scan."""
    scan, axes = (x[blocks.of_scan[chosen]] for x in (blocks.scan, blocks.axes))
    if hidden is not None:
        scan = np.where(hidden[:, None], blocks.scan.mean(axis=0), scan)
        axes = np.where(hidden[:, None, None], blocks.axes.mean(axis=(0, 1)), axes)
    return Batch(
        blocks.local[chosen],
        Evidence(scan, axes, blocks.slices[chosen]),
        blocks.cross_entropy[chosen],
        blocks.task[chosen],
        blocks.inside[chosen],
    )


def fresh_params(key: jax.Array, blocks: Blocks, num_variances: int) -> Any:
    """Parameters to start from, for which all that comes in has mean 0 and spread 1."""
    some = np.random.default_rng(0).permutation(len(blocks.local))[:400]
    batch = batch_of(blocks, some[:2])
    drawn = SourceHead(num_variances).init(key, _floats(batch).local, _floats(batch).evidence)
    params = jax.tree.map(np.array, drawn["params"])
    seen = {
        "local": blocks.local[some],
        "slice": blocks.slices[some],
        "axis": blocks.axes,
        "scan": blocks.scan,
    }
    for name, numbers in seen.items():
        rows = numbers.reshape(-1, numbers.shape[-1]).astype(np.float32)
        params[name]["kernel"] /= (rows.std(axis=0) + _SMALLEST_SPREAD)[:, None]
        bias = params["local" if name == "scan" else name]["bias"]
        bias -= rows.mean(axis=0) @ params[name]["kernel"]
    return params


_SMALLEST_SPREAD = 0.05
"""Of what the head sees: what is nearly the same in all scans is not blown up."""


def _floats(batch: Batch) -> Batch:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch)


def apply(params: Any, num_variances: int, batch: Batch) -> jax.Array:
    """Log-variances of cells, `(B, b, b, b, num_variances)`; of the task what is added to it."""
    batch = _floats(batch)
    return SourceHead(num_variances).apply({"params": params}, batch.local, batch.evidence)


# -- Losses ----------------------------------------------------------------------------------------


def _mean_inside(x: jax.Array, inside: jax.Array) -> jax.Array:
    return jnp.sum(x * inside) / jnp.maximum(jnp.sum(inside), 1.0)


def _weighted(cross_entropy: jax.Array, variance: jax.Array) -> jax.Array:
    """Eq. 4, of the mean cross-entropy of a cell."""
    return cross_entropy / (variance + EPSILON) + 0.5 * jnp.log(variance + EPSILON)


def task_loss(params: Any, batch: Batch) -> jax.Array:
    """Eq. 4 on clean scans."""
    variance = uncertainty.variance(batch.task + apply(params, 1, batch)[..., 0])
    return _mean_inside(_weighted(batch.cross_entropy, variance), batch.inside)


def teacher_loss(params: Any, batch: Batch, task: jax.Array) -> jax.Array:
    """Eq. 6, with the variance that the task's head gives to the clean scan in the place of its
    own, which the consistency term would bring there."""
    own = uncertainty.variance(apply(params, 1, batch)[..., 0])
    variance = uncertainty.variance(task) + own
    return _mean_inside(_weighted(batch.cross_entropy, variance), batch.inside)


def student_loss(
    params: Any, batch: Batch, targets: jax.Array, known: jax.Array, weight: float
) -> jax.Array:
    """Eq. 5 and, for the task and every source, Eq. 7 between log-variances.

    Args:
      params: of the head.
      batch: B blocks.
      targets: `(B, b, b, b, 1 + N)`, log-variances, not below the floor.
      known: `(B, 1 + N)` bool, whether there is a target.
      weight: of Eq. 7.
    """
    found = apply(params, targets.shape[-1], batch)
    log_variance = found.at[..., 0].add(batch.task)
    total = uncertainty.total_variance(log_variance)
    loss = _mean_inside(_weighted(batch.cross_entropy, total), batch.inside)
    predicted = jnp.log(jnp.exp(log_variance) + uncertainty.VARIANCE_FLOOR)
    target = jnp.log(jnp.exp(targets) + uncertainty.VARIANCE_FLOOR)
    compared = (known[:, None, None, None] & (batch.inside[..., None] > 0.5)).astype(jnp.float32)
    agreement = sum(
        losses.consistency(
            jnp.where(compared[..., c] > 0, predicted[..., c], target[..., c]),
            target[..., c],
            norm=2,
        )
        for c in range(targets.shape[-1])
    )
    return loss + weight * agreement


# -- Training --------------------------------------------------------------------------------------


def _train(params, loss: Callable, schedule: Schedule, draw: Callable, advance: Callable) -> Any:
    rate = optax.polynomial_schedule(schedule.learning_rate, 0.0, 0.9, schedule.steps)
    optimiser = optax.adamw(rate, weight_decay=schedule.weight_decay)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, arguments):
        value, gradient = jax.value_and_grad(loss)(params, *arguments)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    params = jax.tree.map(jnp.array, params)
    state = optimiser.init(params)
    for _ in range(schedule.steps):
        params, state, value = step(params, state, draw())
        advance(value)
    return jax.tree.map(np.asarray, params)


def steps_of(schedule: Schedule, sources: int) -> int:
    """Steps of all stages together."""
    return schedule.steps + (1 + sources) * (schedule.steps // _SHARE)


def train(
    blocks: Blocks,
    schedule: Schedule,
    advance: Callable[[str, Any], None] = lambda stage, value: None,
) -> tuple[Any, list[Any], Any]:
    """The three stages.

    Args:
      blocks: to learn from.
      schedule: of the student; the task's head and each teacher have a quarter of its steps.
      advance: called after each step with the stage and its loss.

    Returns:
      Parameters of the task's head, of the teachers, and of the student's head.
    """
    rng = np.random.default_rng(schedule.seed)
    keys = jax.random.split(jax.random.key(schedule.seed), 3)
    sources = blocks.present.shape[1]
    short = dataclasses.replace(schedule, steps=schedule.steps // _SHARE)
    clean = np.flatnonzero(~np.isfinite(blocks.present).any(axis=1)[blocks.of_scan])

    def some(members):
        chosen = rng.choice(members, schedule.blocks)
        return chosen, batch_of(blocks, chosen, rng.random(schedule.blocks) < schedule.dropped)

    task = _train(
        fresh_params(keys[0], blocks, 1),
        task_loss,
        short,
        lambda: (some(clean)[1],),
        functools.partial(advance, "task"),
    )
    of_task = _everywhere(task, blocks)[..., 0] + blocks.task

    teachers, of_teachers = [], []
    for source in range(sources):
        inside = np.isfinite(blocks.present)
        alone = inside[:, source] & (inside.sum(axis=1) == 1)
        spoilt = np.flatnonzero(alone[blocks.of_scan])

        def batch(spoilt=spoilt):
            half = schedule.blocks // 2
            chosen = np.concatenate([rng.choice(spoilt, half), rng.choice(clean, half)])
            hidden = rng.random(len(chosen)) < schedule.dropped
            return batch_of(blocks, chosen, hidden), of_task[blocks.of_clean[chosen]]

        stage = functools.partial(advance, f"teachers/{source}")
        teacher = _train(fresh_params(keys[1], blocks, 1), teacher_loss, short, batch, stage)
        teachers.append(teacher)
        of_teachers.append(_everywhere(teacher, blocks)[..., 0])

    def student_batch():
        chosen, batch = some(np.arange(len(blocks.local)))
        targets, known = _targets(blocks, chosen, of_task, of_teachers)
        return batch, targets, known, schedule.consistency_weight

    student = _train(
        fresh_params(keys[2], blocks, 1 + sources),
        student_loss,
        schedule,
        student_batch,
        functools.partial(advance, "student"),
    )
    return task, teachers, student


def _targets(blocks: Blocks, chosen, of_task, of_teachers) -> tuple[np.ndarray, np.ndarray]:
    """Log-variances that the student is held to; the floor where a source is absent."""
    own = blocks.of_alone[chosen]
    targets = [of_task[blocks.of_clean[chosen]]]
    for source, found in enumerate(of_teachers):
        block = own[:, source]
        said = found[np.maximum(block, 0)]
        there = (block >= 0)[:, None, None, None] & (blocks.region[chosen] > _SOME)
        targets.append(np.where(there, said, _LOG_FLOOR))
    known = np.concatenate([np.ones((len(chosen), 1), bool), own != -2], axis=1)
    return np.stack(targets, axis=-1), known


_SOME = 0.1
"""Share of an artefact below which a cell counts as free of it."""


def _everywhere(params: Any, blocks: Blocks, number: int = 256) -> np.ndarray:
    """What a head says of all blocks, `(B, b, b, b, num_variances)`."""
    run = jax.jit(apply, static_argnums=1)
    variances = params["out"]["bias"].shape[0]
    found = [
        np.asarray(
            run(
                params,
                variances,
                batch_of(blocks, np.arange(f, min(f + number, len(blocks.local)))),
            )
        )
        for f in range(0, len(blocks.local), number)
    ]
    return np.concatenate(found)
