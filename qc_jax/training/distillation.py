"""What each stage minimises, and whom it learns from (section 3).

* `task`: clean images, Eq. 4.
* `teacher`: images with one artefact, Eq. 6; the task network is frozen.
* `student`: images with all artefacts, Eq. 5 and a consistency term (Eq. 7) for every variance; the
  task network and all teachers are frozen.

The three are one loss: a stage is its sources and its frozen networks.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from qc_jax import losses, uncertainty
from qc_jax.network import UNet, apply_to_scans
from qc_jax.training import sparse
from qc_jax.training.samples import Sample

Params = Mapping[str, Any]
Segment = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""Logits, labels and log-variances to the loss of every voxel."""
Compare = Callable[[jax.Array, jax.Array], jax.Array]
"""A variance and its target, `(B, P, x, y, z)` both, to one number."""


class Frozen(NamedTuple):
    """Networks that a stage learns from; their parameters never change.

    Attributes:
      task: parameters of the task network, or None in the task stage.
      teachers: parameters of one teacher for each source in the student stage, else empty.
    """

    task: Params | None = None
    teachers: tuple[Params, ...] = ()


def stage_loss(
    params: Params,
    sample: Sample,
    network: UNet,
    frozen: Frozen,
    segment: Segment,
    compare: Compare = losses.consistency,
    ask: Callable = sparse.everywhere,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a stage (Eq. 4, 5 or 6, by its sources and frozen networks) and what to log.

    Args:
      params: of the network that is trained.
      sample: of B scans.
      network: predicts as many sources as the stage has.
      frozen: the networks to learn from.
      segment: Eq. 5, `losses.combined_loss` at some epsilon.
      compare: Eq. 7, `losses.consistency` or `losses.log_consistency`.
      ask: of which scans a teacher is asked, see `pseudo_labels`.

    Returns:
      The loss, and its parts with the Dice coefficient of the batch.
    """
    logits, log_variance = apply_to_scans(network, params, *sample.image)
    variances = uncertainty.variance(log_variance)
    targets = pseudo_labels(sample, network, frozen, ask)
    segmentation = jnp.mean(segment(logits, sample.labels, log_variance))
    terms = [compare(variances[..., i], target) for i, target in enumerate(targets)]
    consistency = sum(terms, start=jnp.zeros(()))
    return segmentation + consistency, {
        "segmentation": segmentation,
        "consistency": consistency,
        "dice": _dice(logits, sample.labels),
    }


def pseudo_labels(
    sample: Sample, network: UNet, frozen: Frozen, ask: Callable = sparse.everywhere
) -> list[jax.Array]:
    """What Eq. 7 compares the first variances of the network to: the task, then source by source.

    Args:
      sample: as in `stage_loss`.
      network: whose sources the teachers have, one each.
      frozen: the networks to learn from.
      ask: `sparse.everywhere` for what a teacher says of every image, or `sparse.where_present` for
        zero where the image does not carry the source.

    Returns:
      Variances `(B, P, x, y, z)`: none in the task stage, one for a teacher, all for the student.
    """
    if frozen.task is None:
        return []
    alone, teacher = network.clone(num_sources=0), network.clone(num_sources=1)
    _, of_task = apply_to_scans(alone, frozen.task, *sample.for_task)
    targets = [uncertainty.variance(of_task[..., 0])]
    for i, params in enumerate(frozen.teachers):

        def variance_of(view, params=params):
            return uncertainty.variance(apply_to_scans(teacher, params, *view)[1][..., 1])

        view = jax.tree.map(lambda x, i=i: x[:, i], sample.for_teachers)
        targets.append(ask(variance_of, view, sample.present[:, i]))
    return jax.lax.stop_gradient(targets)


def warm_up(segment: Segment, still: jax.Array) -> Segment:
    """The plain cross-entropy as long as `still`, a bool, is true, and `segment` from then on."""

    def loss(logits, labels, log_variance):
        plain = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.where(still, plain, segment(logits, labels, log_variance))

    return loss


def start_from(task: Params, params: Params) -> Params:
    """Fresh parameters with all that the task network has; new variance channels stay fresh."""

    def take(path, fresh):
        trained = task
        for part in path:
            trained = trained[part.key]
        if trained.shape == fresh.shape:
            return jnp.copy(trained)  # the training step donates its state; `task` stays whole
        # Only the heads differ: the last axis counts the variances, the task first.
        return fresh.at[..., : trained.shape[-1]].set(trained)

    return jax.tree_util.tree_map_with_path(take, params)


def _dice(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of the grey matter of a batch."""
    found, truth = jnp.argmax(logits, axis=-1) == 1, labels == 1
    return 2 * jnp.sum(found & truth) / jnp.maximum(jnp.sum(found) + jnp.sum(truth), 1)
