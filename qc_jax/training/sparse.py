"""Over scans, sparing what is absent: all of the training that asks which backend there is.

A CPU takes scans one by one, so that a branch of `jax.lax.cond` that is not taken costs nothing;
elsewhere they go in groups that fill the device.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qc_jax.training.samples import View


def for_each(function: Callable, *arrays: Any) -> Any:
    """Maps over the first axis: eight at a time, for the sake of memory, or one by one on a CPU."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda one: function(*one), arrays)
    number = len(jax.tree.leaves(arrays)[0])
    together = math.gcd(number, 8)
    groups = jax.tree.map(lambda x: x.reshape(number // together, together, *x.shape[1:]), arrays)
    found = jax.lax.map(lambda group: jax.vmap(function)(*group), groups)
    return jax.tree.map(lambda x: x.reshape(number, *x.shape[2:]), found)


def everywhere(
    variance_of: Callable[[View], jax.Array], views: View, present: jax.Array
) -> jax.Array:
    """As `where_present`, but the variances of all scans, whatever they carry."""
    return variance_of(views)


def where_present(
    variance_of: Callable[[View], jax.Array], views: View, present: jax.Array
) -> jax.Array:
    """The variances of the scans that carry an artefact, and zero for the others.

    Most carry none of a kind.  Those that do come first, and groups without any are left out: a
    group is one scan on a CPU, and on a GPU as many as fill it better than one.

    Args:
      variance_of: what is seen of scans, any number of them, to `(..., P, x, y, z)`.
      views: of B scans.
      present: `(B,)` bool.

    Returns:
      `(B, P, x, y, z)`.
    """
    scans, shape = len(present), views.patches.shape[1:-1]
    together = 1 if jax.default_backend() == "cpu" else math.gcd(scans, 4)
    order = jnp.argsort(~present)
    groups = jax.tree.map(lambda x: x[order].reshape(-1, together, *x.shape[1:]), views)
    wanted = present[order].reshape(-1, together)
    nothing = lambda view: jnp.zeros(view.patches.shape[:-1], jnp.float32)  # noqa: E731
    found = jax.lax.map(
        lambda group: jax.lax.cond(jnp.any(group[1]), variance_of, nothing, group[0]),
        (groups, wanted),
    ).reshape(scans, *shape)
    return jnp.where(jnp.expand_dims(present, range(1, found.ndim)), found[jnp.argsort(order)], 0.0)
