"""The source head on its own: Eq. 5 and Eq. 7 over kept features, and its training.

The network below it stays as it is.
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

    steps: int = 4000
    blocks: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropped: float = 0.25
    consistency_weight: float = 1.0
    seed: int = 0


class Blocks(NamedTuple):
    """All blocks of many draws, `B` of them; see `Features`.

    Attributes:
      local, slices, cross_entropy, own, task, region, inside: `(B, ...)`.
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
    own: np.ndarray
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

    cells = ("local", "slices", "cross_entropy", "own", "task", "region", "inside")
    return Blocks(
        **{name: merged(name) for name in cells},
        **{name: row(name) for name in ("scan", "axes", "present")},
        of_scan=np.concatenate(of_scan),
        of_clean=np.concatenate(of_clean),
        of_alone=np.concatenate(of_alone),
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


def loss(
    params: Any, batch: Batch, targets: jax.Array, known: jax.Array, weight: float
) -> jax.Array:
    """Eq. 5 and, for the task and every source, Eq. 7 between log-variances.

    Args:
      params: of the head.
      batch: B blocks.
      targets: `(B, b, b, b, 1 + N)`, log-variances.
      known: `(B, 1 + N)` bool, whether there is a target.
      weight: of Eq. 7.
    """
    found = apply(params, targets.shape[-1], batch)
    log_variance = found.at[..., 0].add(batch.task)
    total = uncertainty.total_variance(log_variance)
    segmentation = _mean_inside(
        losses.attenuated(batch.cross_entropy, total, EPSILON), batch.inside
    )
    # The target is held above the floor, not the prediction: that one keeps its gradient.
    target = jnp.maximum(targets, _LOG_FLOOR)
    compared = (known[:, None, None, None] & (batch.inside[..., None] > 0.5)).astype(jnp.float32)
    agreement = sum(
        losses.consistency(
            jnp.where(compared[..., c] > 0, log_variance[..., c], target[..., c]),
            target[..., c],
            norm=2,
        )
        for c in range(targets.shape[-1])
    )
    return segmentation + weight * agreement


# -- Training --------------------------------------------------------------------------------------


def train(
    blocks: Blocks, schedule: Schedule, advance: Callable[[Any], None] = lambda value: None
) -> Any:
    """Parameters of the head.

    Args:
      blocks: to learn from.
      schedule: see `Schedule`.
      advance: called after each step with the loss.
    """
    rng = np.random.default_rng(schedule.seed)
    rate = optax.polynomial_schedule(schedule.learning_rate, 0.0, 0.9, schedule.steps)
    optimiser = optax.adamw(rate, weight_decay=schedule.weight_decay)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, batch, targets, known):
        value, gradient = jax.value_and_grad(loss)(
            params, batch, targets, known, schedule.consistency_weight
        )
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    variances = 1 + blocks.present.shape[1]
    fresh = fresh_params(jax.random.key(schedule.seed), blocks, variances)
    params = jax.tree.map(jnp.array, fresh)
    state = optimiser.init(params)
    for _ in range(schedule.steps):
        chosen = rng.integers(len(blocks.local), size=schedule.blocks)
        hidden = rng.random(schedule.blocks) < schedule.dropped
        batch = batch_of(blocks, chosen, hidden)
        params, state, value = step(params, state, batch, *targets_of(blocks, chosen))
        advance(value)
    return jax.tree.map(np.asarray, params)


def targets_of(blocks: Blocks, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What Eq. 7 compares the log-variances of some blocks with, and where there is anything.

    Of the task that of the clean scan; of a source that of the version with it alone, where it is,
    and the floor where it is not.  A part of it is the mean over the block: what is spoilt is
    spoilt between the borders of tissue as well, where the network does not err.

    Returns:
      `(B, b, b, b, 1 + N)` and `(B, 1 + N)` bool.
    """
    alone = blocks.of_alone[chosen]
    targets = [blocks.task[blocks.of_clean[chosen]]]
    there = blocks.region[chosen] > _SOME
    for block in alone.T:
        own = blocks.own[np.maximum(block, 0)] * there
        mean = own.sum(axis=(1, 2, 3)) / np.maximum(there.sum(axis=(1, 2, 3)), 1)
        own = (1 - _SHARED) * own + _SHARED * mean[:, None, None, None] * there
        present = (block >= 0)[:, None, None, None]
        targets.append(np.log(np.where(present, own, 0.0) + uncertainty.VARIANCE_FLOOR))
    known = np.concatenate([np.ones((len(chosen), 1), bool), alone != -2], axis=1)
    return np.stack(targets, axis=-1), known


_SOME = 0.1
"""Share of an artefact below which a cell counts as free of it."""
_SHARED = 0.5
"""Share of a block's mean in the variance of its cells."""


def log_variances(params: Any, blocks: Blocks, number: int = 256) -> np.ndarray:
    """What a head says of all blocks, `(B, b, b, b, 1 + N)`; of the task what it adds."""
    run = jax.jit(apply, static_argnums=1)
    variances = params["out"]["bias"].shape[0]
    places = np.array_split(np.arange(len(blocks.local)), -(-len(blocks.local) // number))
    found = [np.asarray(run(params, variances, batch_of(blocks, place))) for place in places]
    return np.concatenate(found)
