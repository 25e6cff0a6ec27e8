"""One training step for every stage: sample, loss, gradient and update on the device.

The batch is sharded over the mesh axis `data`, the state is replicated.  A sample's key comes from
the step and the sample's index in the batch, so that nothing depends on the number of devices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qc_jax.training import sparse


class TrainState(NamedTuple):
    """Everything that changes from step to step.

    Attributes:
      params: of the network.
      optimiser: its state.
      step: int32, steps done.
    """

    params: Any
    optimiser: Any
    step: jax.Array


def data_mesh(devices: int | None = None) -> Mesh:
    """A mesh of one axis, `data`, over the first `devices`, all by default."""
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a `TrainState`."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch over the devices of all processes, from the rows that belong to this one's."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def init_state(params: Any, optimiser: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimiser.init(params), jnp.zeros((), jnp.int32))


def train_step(
    mesh: Mesh,
    sample: Callable[[jax.Array, Any, Any], Any],
    loss: Callable[[Any, Any, Any, TrainState], tuple[jax.Array, dict[str, jax.Array]]],
    optimiser: optax.GradientTransformation,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles `(state, key, batch, fixed) -> (state, metrics)`; the state's buffers are donated.

    The batch is a dict of arrays with a first axis of scans, `index` among them: a scan's place in
    the batch of all devices.  `fixed` is any tree of arrays that do not change: frozen networks,
    heads to draw from.  Passed as an argument it is no part of the program, which thus serves
    others too.  The metrics are those of the loss, and `loss` itself.

    Args:
      mesh: with the axis `data`; the batch size has to be a multiple of its size.
      sample: `(key, scan, fixed)` to a tree of arrays, where `scan` is a row of the batch.
      loss: `(params, samples, fixed, state)` to the mean loss of samples that are stacked, and
        metrics; `state` is that before the step.
      optimiser: its `update` gets the loss as `value` if it wants it.
    """
    update = optax.with_extra_args_support(optimiser).update

    def device_step(state, key, batch, fixed):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(key, state.step), batch["index"]
        )
        samples = sparse.for_each(lambda key, scan: sample(key, scan, fixed), keys, batch)
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params, samples, fixed, state
        )
        gradient, metrics = jax.lax.pmean((gradient, metrics | {"loss": value}), "data")
        updates, optimiser_state = update(
            gradient, state.optimiser, state.params, value=metrics["loss"]
        )
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, optimiser_state, state.step + 1), metrics

    whole, split = PartitionSpec(), PartitionSpec("data")
    # The convolution's hand-written gradient gives a kernel gradient per device; `pmean` above
    # joins them, which the check of varying axes cannot know.
    over_devices = jax.shard_map(
        device_step,
        mesh=mesh,
        in_specs=(whole, whole, split, whole),
        out_specs=(whole, whole),
        check_vma=False,
    )
    return jax.jit(over_devices, donate_argnums=0)
