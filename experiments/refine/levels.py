"""The level head on its own: its loss over kept features, and its training."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.refine.features import Features
from qc_jax import network


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the level head is trained.

    Attributes:
      steps: of AdamW.
      batch_size: windows in a step.
      learning_rate: falls to zero as (1 - step / steps)^0.9.
      weight_decay: of AdamW.
      seed: of the order of the windows.
    """

    steps: int = 6000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0


_SMALLEST_SPREAD = 0.05
"""Of what the head sees: what is nearly the same in all scans is not blown up."""
_ENOUGH = 100_000
"""Voxels of the bottleneck to take the spread of."""


class Windows(NamedTuple):
    """Windows of many scans, one after another: `Features` without the axis of scans."""

    local: np.ndarray
    everywhere: np.ndarray
    fine: np.ndarray
    target: np.ndarray
    inside: np.ndarray


def windows_of(features: Sequence[Features]) -> Windows:
    """All windows that hold some of the head."""
    parts = []
    for found in features:
        inside = np.broadcast_to(found.inside, found.local.shape[:-1])
        held = inside.any(axis=(2, 3, 4))
        arrays = (found.local, found.everywhere, found.fine, found.target, inside)
        parts.append([array[held] for array in arrays])
    return Windows(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def smoothing(number: int, depth: int) -> np.ndarray:
    """What interpolation makes of a row of coarse values, as means in their cubes again.

    Args:
      number: of voxels of the bottleneck along an edge of a window.
      depth: of the network.

    Returns:
      `(number, number)`, cube by value; rows sum to 1.
    """
    rows = jnp.eye(number).reshape(number, number, 1, 1, 1)
    fine = network.upsample(rows, depth - 1)[:, :, 0, 0, 0]
    return np.asarray(fine.reshape(number, number, -1).mean(axis=-1)).T


def log_variances(head: network.LevelHead, params: Any, windows: Windows, smooth) -> jax.Array:
    """Means of the log-variances in the cubes, `(B, c, c, c, 1 + N)`."""
    coarse = head.apply({"params": params}, windows.local.astype(jnp.float32), windows.everywhere)
    return windows.fine + jnp.einsum("ai,bj,ck,nijkv->nabcv", smooth, smooth, smooth, coarse)


def loss(head: network.LevelHead, params: Any, windows: Windows, smooth) -> jax.Array:
    """Mean square of the differences of the log-variances inside the head."""
    difference = log_variances(head, params, windows, smooth) - windows.target
    return jnp.mean(jnp.square(difference) * windows.inside[..., None]) / jnp.mean(windows.inside)


def fresh_params(key: jax.Array, windows: Windows) -> Any:
    """Parameters to start from, for which all that comes in has mean 0 and spread 1.

    Without that, the level head of the student learns so much more slowly that its own parameters
    are the worse ones to start from.

    Args:
      key: typed key.
      windows: to learn from.
    """
    local = windows.local.reshape(-1, windows.local.shape[-1])
    local = local[:: max(len(local) // _ENOUGH, 1)].astype(np.float32)
    head = network.LevelHead(windows.target.shape[-1])
    drawn = head.init(key, windows.local[:1].astype(np.float32), windows.everywhere[:1])["params"]
    params = jax.tree.map(np.array, drawn)
    for name, seen in (("local", local), ("everywhere", windows.everywhere)):
        kernel = params[name]["kernel"]
        kernel /= (seen.std(axis=0) + _SMALLEST_SPREAD)[:, None]
        params["local"]["bias"] -= seen.mean(axis=0) @ kernel
    params["out"]["bias"] = np.mean(windows.target - windows.fine, axis=(0, 1, 2, 3))
    return params


def train(
    params: Any,
    windows: Windows,
    smooth: np.ndarray,
    schedule: Schedule,
    advance: Callable[[], None] = lambda: None,
) -> Any:
    """Trains the level head.

    Args:
      params: of the head, to start from.
      windows: to learn from.
      smooth: see `smoothing`.
      schedule: see `Schedule`.
      advance: called after each step.

    Returns:
      Parameters of the head.
    """
    head = network.LevelHead(windows.target.shape[-1])
    rate = optax.polynomial_schedule(schedule.learning_rate, 0.0, 0.9, schedule.steps)
    optimiser = optax.adamw(rate, weight_decay=schedule.weight_decay)

    @jax.jit
    def step(params, state, batch):
        gradient = jax.grad(lambda p: loss(head, p, batch, smooth))(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = optimiser.init(params)
    for chosen in itertools.islice(_orders(len(windows.local), schedule), schedule.steps):
        params, state = step(params, state, Windows(*(array[chosen] for array in windows)))
        advance()
    return params


def _orders(number: int, schedule: Schedule) -> Iterator[np.ndarray]:
    """Batches of numbers, shuffled anew in each epoch."""
    rng = np.random.default_rng(schedule.seed)
    size = min(schedule.batch_size, number)
    while True:
        order = rng.permutation(number)
        for first in range(0, number - size + 1, size):
            yield order[first : first + size]
