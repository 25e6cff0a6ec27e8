"""One training step for every stage: augmentation, loss, gradient and update on the device.

The batch is sharded over the mesh axis `data`, the state is replicated.  A sample's key comes from
the step and the sample's index in the batch, so that nothing depends on the number of devices.

A loss or gradient that is not finite never reaches the parameters: the step then only counts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qc_jax.augment import Source
from qc_jax.configs import PlateauConfig, SampleConfig
from qc_jax.network import UNet, fresh_params
from qc_jax.training import plateau, stages


class TrainState(NamedTuple):
    """Everything that changes from step to step.

    Attributes:
      params: of the network.
      optimiser: state of Adam.
      plateau: state of the plateau rule.
      step: int32, steps done.
    """

    params: Any
    optimiser: Any
    plateau: Any
    step: jax.Array


class Turn(NamedTuple):
    """What one call of a compiled step may have of its own, so that others share its program.

    Attributes:
      allowed: `(N,)` bool, which of the sources may appear: so a teacher of one source is trained
        by the program of all teachers; None for all of them.
      learning_rate: of Adam, before the plateau rule, in the place of the schedule that the step
        was made with; None for that one.
    """

    allowed: jax.Array | None = None
    learning_rate: jax.Array | None = None


_AS_MADE = Turn()


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


def init_state(
    key: jax.Array,
    network: UNet,
    patch: tuple[int, int, int],
    learning_rate: optax.ScalarOrSchedule,
    plateau_config: PlateauConfig,
    task: stages.Params | None = None,
) -> TrainState:
    """A fresh state; with `task`, the parameters start from those of the task network."""
    params = fresh_params(network, key, patch)
    if task is not None:
        params = stages.start_from(task, params)
    return TrainState(
        params=params,
        optimiser=optax.adam(learning_rate).init(params),
        plateau=plateau.plateau_rule(plateau_config).init(params),
        step=jnp.zeros((), jnp.int32),
    )


def make_train_step(
    mesh: Mesh,
    network: UNet,
    sources: tuple[Source, ...],
    frozen: stages.Frozen,
    sample_config: SampleConfig,
    loss_config: stages.LossConfig,
    learning_rate: optax.ScalarOrSchedule,
    plateau_config: PlateauConfig,
    heads: np.ndarray | None = None,
) -> Callable[..., tuple[TrainState, dict]]:
    """Compiles `(state, key, batch, turn=Turn()) -> (state, metrics)`; the state's buffers are
    donated.

    The batch holds `index`, and `image` and `labels`, or `subject` where heads are given.  The
    metric `finite` is False where the update was skipped.

    Args:
      mesh: with the axis `data`; the batch size has to be a multiple of its size.
      network: what is trained.
      sources: artefacts of this stage, one variance channel each, or one channel for the one that
        `Turn.allowed` names.
      frozen: parameters closed over; they get no gradient and no optimiser state.
      sample_config: how samples are made.
      loss_config: what is minimised.
      learning_rate: of Adam, before the plateau rule; a number, or a schedule over the steps.
      plateau_config: of the plateau rule.
      heads: `(S, X, Y, Z, T)` uint8, tissue fractions from which images are drawn; they stay on the
        devices.
    """
    rule = plateau.plateau_rule(plateau_config)
    with_own = bool(frozen.teachers) and loss_config.teacher_input == "own"

    def one_sample(key, heads, one, allowed):
        if heads is None:
            image, labels = one["image"], one["labels"].astype(jnp.int32)
        else:
            key, scan_key = jax.random.split(key)
            head = heads[one["subject"]]
            image, labels = stages.make_scan(scan_key, head, sample_config.deformation)
        return stages.make_sample(key, image, labels, sources, sample_config, with_own, allowed)

    def device_step(state, key, batch, turn, frozen, heads):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(key, state.step), batch["index"]
        )
        samples = stages.for_each(
            lambda key, one: one_sample(key, heads, one, turn.allowed), keys, batch
        )
        samples = _one_batch(samples)
        epsilon = plateau.epsilon(plateau_config, state.plateau)
        (_, metrics), gradient = jax.value_and_grad(stages.stage_loss, has_aux=True)(
            state.params, samples, network, frozen, epsilon, state.step, loss_config
        )
        gradient, metrics = jax.lax.pmean((gradient, metrics), "data")
        schedule = learning_rate if turn.learning_rate is None else lambda _: turn.learning_rate
        updates, optimiser_state = optax.adam(schedule).update(
            gradient, state.optimiser, state.params
        )
        updates, plateau_state = rule.update(
            updates, state.plateau, state.params, value=metrics["loss"]
        )
        params = optax.apply_updates(state.params, updates)
        rate = schedule(state.step) if callable(schedule) else schedule
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(optax.tree.norm(gradient))
        metrics |= {
            "epsilon": epsilon,
            "learning_rate": rate * state.plateau.scale,
            "finite": finite,
        }
        learnt = TrainState(params, optimiser_state, plateau_state, state.step)
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), learnt, state)
        return kept._replace(step=state.step + 1), metrics

    whole, split = PartitionSpec(), PartitionSpec("data")
    # The convolution's hand-written gradient gives a kernel gradient per device; `pmean` above
    # joins them, which the check of varying axes cannot know.
    sharded = jax.shard_map(
        device_step,
        mesh=mesh,
        in_specs=(whole, whole, split, whole, whole, whole),
        out_specs=(whole, whole),
        check_vma=False,
    )
    # Passed as arguments they are no part of the program, which thus serves other networks too.
    kept = jax.device_put((frozen, heads), replicated(mesh))
    compiled = jax.jit(sharded, donate_argnums=0)
    return lambda state, key, batch, turn=_AS_MADE: compiled(state, key, batch, turn, *kept)


def _one_batch(samples: stages.Sample) -> stages.Sample:
    """Scans `(B, P, ...)` to patches `(B P, ...)`, `own` `(B, N, P, ...)` to `(N, B P, ...)`."""
    merge = lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])  # noqa: E731
    own = jax.tree.map(lambda x: jax.vmap(merge)(jnp.moveaxis(x, 1, 0)), samples.own)
    return jax.tree.map(merge, samples)._replace(own=own)
