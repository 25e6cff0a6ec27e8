"""What each stage shows its network, what it freezes and what it minimises (section 3).

* `task`: clean images, Eq. 4.
* `teacher`: images with one artefact, Eq. 6; the task network is frozen.
* `student`: images with all artefacts, Eq. 5 and a consistency term for every variance; the task
  network and all teachers are frozen.

The three are one loss: a stage is its sources and its frozen networks.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from qc_jax import augment, losses, spectrum, uncertainty
from qc_jax.augment import Source, tissues
from qc_jax.configs import SampleConfig
from qc_jax.network import UNet

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The choices that the paper leaves open, at its own reading.

    Attributes:
      warm_up: first steps of the task network that minimise the plain cross-entropy.
      teacher_input: `own` shows teacher i the image with artefact i alone and the task network the
        clean one; `same` shows all of them the student's image.
      consistency_of: Eq. 7 compares `variance` or `log_variance`; the logarithm is that of a target
        of at least `uncertainty.VARIANCE_FLOOR`.
      absent_source: what the student's variance is compared to where the image does not carry the
        source: what the `teacher` says of the clean image, or `zero`.
      consistency_norm: 1 as in Eq. 7, or 2 for the mean square in the place of L1.  What is
        uncertain is then learnt as its mean, not its median, which for a source that most images
        lack is none at all.
      consistency_weight: of every consistency term.
      gradient_weight: of L_grad in Eq. 7.
      ssim_weight: of L_SSIM in Eq. 7.
    """

    warm_up: int = 0
    teacher_input: Literal["own", "same"] = "own"
    consistency_of: Literal["variance", "log_variance"] = "variance"
    absent_source: Literal["teacher", "zero"] = "teacher"
    consistency_norm: Literal[1, 2] = 1
    consistency_weight: float = 1.0
    gradient_weight: float = 1.0
    ssim_weight: float = losses.SSIM_WEIGHT


class Frozen(NamedTuple):
    """Networks that a stage learns from; their parameters never change.

    Attributes:
      task: parameters of the task network, or None in the task stage.
      teachers: parameters of one teacher for each source in the student stage, else empty.
    """

    task: Params | None = None
    teachers: tuple[Params, ...] = ()


class View(NamedTuple):
    """What a network sees of a scan.

    Attributes:
      patches: `(P, x, y, z, 1)`.
      spectrum: `(P, spectrum.SCAN_SIZE)`, of the whole scan, the same for all of its patches.
    """

    patches: jax.Array
    spectrum: jax.Array


class Sample(NamedTuple):
    """Patches of one scan, `P` of them.

    Attributes:
      image: what the network that is trained sees.
      labels: `(P, x, y, z)`.
      clean: what the frozen task network sees.
      own: what each frozen teacher sees, with a first axis of N; N = 0 without teachers.
      present: `(P, N)` bool, the artefacts that each patch carries.
    """

    image: View
    labels: jax.Array
    clean: View
    own: View
    present: jax.Array


def make_scan(
    key: jax.Array, fractions: jax.Array, deformation: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Draws an image of random contrast of a head, or of another head made of it.

    Args:
      key: typed key of this sample.
      fractions: `(X, Y, Z, T)` uint8, see `augment.tissues`.
      deformation: three of four heads are deformed so much, see `tissues.deform`; 0 leaves it out.

    Returns:
      Image `(X, Y, Z)` in [0, 1] and labels `(X, Y, Z)` int32.
    """
    choice_key, deform_key, image_key = jax.random.split(key, 3)
    if deformation:
        fractions = jax.lax.cond(
            jax.random.bernoulli(choice_key, 0.75),
            lambda head: tissues.deform(deform_key, head, deformation),
            lambda head: head.astype(jnp.float32),
            fractions,
        )
    labels = tissues.labels_of(fractions).astype(jnp.int32)
    return tissues.draw_image(image_key, fractions), labels


def vary_scan(
    key: jax.Array, image: jax.Array, labels: jax.Array, config: SampleConfig
) -> tuple[jax.Array, jax.Array]:
    """The same head in another place, mirrored, under another bias field.

    Args:
      key: typed key of this sample.
      image: `(X, Y, Z)`, in [0, 1].
      labels: `(X, Y, Z)`.
      config: see `SampleConfig`.

    Returns:
      Image, with the maximum 1, and labels.
    """
    spatial_key, flip_key, bias_key = jax.random.split(key, 3)
    if config.rotation or config.scaling:
        image, labels = augment.random_transform(
            spatial_key, image, labels, config.rotation, config.scaling
        )
    if config.flips:
        image, labels = augment.random_flip(flip_key, image, labels)
    if config.bias_field:
        image = augment.bias_field(bias_key, image, config.bias_field)
    return augment.rescale(image), labels


def make_sample(
    key: jax.Array,
    image: jax.Array,
    labels: jax.Array,
    sources: tuple[Source, ...],
    config: SampleConfig,
    with_own: bool,
    allowed: jax.Array | None = None,
) -> Sample:
    """Augments a whole scan, draws artefacts in its k-space and cuts patches.

    Args:
      key: typed key of this sample.
      image: `(X, Y, Z)`, in [0, 1].
      labels: `(X, Y, Z)`.
      sources: the artefacts that may appear.
      config: see `SampleConfig`.
      with_own: whether to make the image of each artefact alone.
      allowed: `(N,)` bool, the artefacts that may appear in this call; None for all.
    """
    vary_key, artefact_key, patch_key = jax.random.split(key, 3)
    clean, labels = vary_scan(vary_key, image, labels, config)

    severities = augment.draw_severities(artefact_key, sources, config.artefact_rate, allowed)
    present = severities != jnp.asarray([source.none for source in sources])
    corrupted = clean
    if sources:
        corrupted = augment.apply_sources(artefact_key, clean, sources, severities, allowed)
    own = jnp.zeros((0, *image.shape))
    if with_own:
        own = jnp.stack(
            [
                augment.apply_sources(
                    artefact_key, clean, (source,), augment.alone(severities, sources, i)[i : i + 1]
                )
                for i, source in enumerate(sources)
            ]
        )

    room = jnp.asarray(image.shape) - jnp.asarray(config.patch) + 1
    drawn = jax.random.randint(
        patch_key, (config.patches_per_scan, config.patch_candidates, 3), 0, room
    )
    middle = drawn + jnp.asarray(config.patch) // 2
    chosen = jnp.argmax(labels[middle[..., 0], middle[..., 1], middle[..., 2]] == 1, axis=1)
    origins = drawn[jnp.arange(config.patches_per_scan), chosen]

    def cut(volume):
        slices = [jax.lax.dynamic_slice(volume, origin, config.patch) for origin in origins]
        return jnp.stack(slices)

    def seen(volume):
        normal = augment.normalise(volume)
        described = spectrum.describe_scan(normal[None])
        return View(cut(normal)[..., None], jnp.repeat(described, config.patches_per_scan, axis=0))

    clean_view = seen(clean)

    def view_of(spoilt, volume):
        # An image without its artefact is the clean one, which is looked at once.
        return jax.lax.cond(spoilt, seen, lambda volume: clean_view, volume)

    return Sample(
        image=view_of(jnp.any(present), corrupted),
        labels=cut(labels),
        clean=clean_view,
        own=jax.lax.map(lambda one: view_of(*one), (present[: len(own)], own)),
        present=jnp.broadcast_to(present, (config.patches_per_scan, len(sources))),
    )


def stage_loss(
    params: Params,
    sample: Sample,
    network: UNet,
    frozen: Frozen,
    epsilon: jax.Array,
    step: jax.Array,
    config: LossConfig,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a stage (Eq. 4, 5 or 6, by its sources and frozen networks) and what to log.

    Args:
      params: of the network that is trained.
      sample: patches in one batch: B in the place of P.
      network: predicts as many sources as the stage has.
      frozen: the networks to learn from.
      epsilon: of Eq. 4.
      step: counts from 0.
      config: see `LossConfig`.

    Returns:
      The loss, and its parts with the Dice coefficient of the batch.
    """
    logits, log_variance = network.apply(params, *sample.image)
    segmentation = jnp.mean(losses.combined_loss(logits, sample.labels, log_variance, epsilon))
    if frozen.task is None and config.warm_up:
        plain = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, sample.labels))
        segmentation = jnp.where(step < config.warm_up, plain, segmentation)

    predicted = uncertainty.variance(log_variance)
    targets = pseudo_labels(sample, network, frozen, config)
    if config.consistency_of == "log_variance":
        # The target is held above the floor, not the prediction: that one keeps its gradient.
        predicted = jnp.log(predicted)
        targets = [jnp.log(jnp.maximum(t, uncertainty.VARIANCE_FLOOR)) for t in targets]
    agreement = sum(
        losses.consistency(
            predicted[..., channel],
            target,
            config.gradient_weight,
            config.ssim_weight,
            config.consistency_norm,
        )
        for channel, target in enumerate(targets)
    )
    loss = segmentation + config.consistency_weight * agreement
    found = jnp.argmax(logits, axis=-1) == 1
    overlap = jnp.sum(found & (sample.labels == 1))
    dice = 2 * overlap / jnp.maximum(jnp.sum(found) + jnp.sum(sample.labels == 1), 1)
    return loss, {
        "loss": loss,
        "segmentation": segmentation,
        "consistency": jnp.asarray(agreement, jnp.float32),
        "dice": dice,
    }


def pseudo_labels(
    sample: Sample, network: UNet, frozen: Frozen, config: LossConfig
) -> list[jax.Array]:
    """What Eq. 7 compares the first variances of the network to: the task, then source by source.

    Args:
      sample: as in `stage_loss`.
      network: whose sources the teachers have, one each.
      frozen: the networks to learn from.
      config: see `LossConfig`.

    Returns:
      Variances `(B, x, y, z)`: none in the task stage, one for a teacher, all for the student.
    """
    if frozen.task is None:
        return []
    same = config.teacher_input == "same"
    task = network.clone(num_sources=0).apply(
        frozen.task, *(sample.image if same else sample.clean)
    )
    targets = [uncertainty.variance(task[1][..., 0])]
    teacher = network.clone(num_sources=1)
    by_scan = lambda x: x.reshape(-1, network.windows_per_scan, *x.shape[1:])  # noqa: E731
    for i, params in enumerate(frozen.teachers):

        def variance_of(view, params=params):
            return uncertainty.variance(teacher.apply(params, *view)[1][..., 1])

        seen = sample.image if same else View(sample.own.patches[i], sample.own.spectrum[i])
        if config.absent_source == "zero":
            present = by_scan(sample.present[:, i])[:, 0]
            target = where_present(variance_of, jax.tree.map(by_scan, seen), present)
            targets.append(target.reshape(seen.patches.shape[:-1]))
        else:
            targets.append(variance_of(seen))
    return jax.lax.stop_gradient(targets)


def where_present(
    variance_of: Callable[[View], jax.Array], views: View, present: jax.Array
) -> jax.Array:
    """The variances of the scans that carry an artefact, and zero for the others.

    Most carry none of a kind.  Those that do come first, and groups without any are left out: a
    group is one scan on a CPU, and on a GPU as many as fill it better than one.

    Args:
      variance_of: what is seen of B windows to `(B, x, y, z)`.
      views: of S scans, `(S, P, ...)`, P windows of each.
      present: `(S,)` bool.

    Returns:
      `(S, P, x, y, z)`.
    """
    scans, windows, *shape = views.patches.shape[:-1]
    together = 1 if jax.default_backend() == "cpu" else math.gcd(scans, 4)
    order = jnp.argsort(~present)
    groups = jax.tree.map(lambda x: x[order].reshape(-1, together * windows, *x.shape[2:]), views)
    wanted = present[order].reshape(-1, together)
    nothing = lambda view: jnp.zeros(view.patches.shape[:-1], jnp.float32)  # noqa: E731
    found = jax.lax.map(
        lambda group: jax.lax.cond(jnp.any(group[1]), variance_of, nothing, group[0]),
        (groups, wanted),
    ).reshape(scans, windows, *shape)
    return jnp.where(jnp.expand_dims(present, range(1, found.ndim)), found[jnp.argsort(order)], 0.0)


def for_each(function: Callable, *arrays: Any) -> Any:
    """Maps over the first axis: eight at a time, for the sake of memory, but on a CPU one by one,
    where a branch of `jax.lax.cond` that is not taken then costs nothing."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda one: function(*one), arrays)
    number = len(jax.tree.leaves(arrays)[0])
    together = math.gcd(number, 8)
    groups = jax.tree.map(lambda x: x.reshape(number // together, together, *x.shape[1:]), arrays)
    found = jax.lax.map(lambda group: jax.vmap(function)(*group), groups)
    return jax.tree.map(lambda x: x.reshape(number, *x.shape[2:]), found)


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
