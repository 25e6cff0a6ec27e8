"""What a network sees of a scan: drawn from a head, varied, spoilt and cut into patches.

A sample is of one scan.  Of B of them every array has a first axis of B; what is known of a scan as
a whole (`spectrum`, `present`) has no axis of patches.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from qc_jax import augment, spectrum
from qc_jax.augment import Source, tissues
from qc_jax.configs import SampleConfig


class View(NamedTuple):
    """What a network sees of a scan.

    Attributes:
      patches: `(P, x, y, z, 1)`.
      spectrum: `(spectrum.SCAN_SIZE,)`, of the whole scan.
    """

    patches: jax.Array
    spectrum: jax.Array


class Sample(NamedTuple):
    """Patches of one scan, `P` of them.

    Attributes:
      image: what the network that is trained sees.
      labels: `(P, x, y, z)`.
      for_task: what the frozen task network sees.
      for_teachers: what each frozen teacher sees, with a first axis of N; N = 0 without teachers.
      present: `(N,)` bool, the artefacts that the scan carries.
    """

    image: View
    labels: jax.Array
    for_task: View
    for_teachers: View
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
    with_teachers: bool = False,
    allowed: jax.Array | None = None,
) -> Sample:
    """Augments a whole scan, draws artefacts in its k-space and cuts patches.

    Args:
      key: typed key of this sample.
      image: `(X, Y, Z)`, in [0, 1].
      labels: `(X, Y, Z)`.
      sources: the artefacts that may appear.
      config: see `SampleConfig`.
      with_teachers: whether to make what the teacher of each source sees.
      allowed: `(N,)` bool, the artefacts that may appear in this call; None for all.
    """
    vary_key, artefact_key, patch_key = jax.random.split(key, 3)
    clean, labels = vary_scan(vary_key, image, labels, config)
    severities = augment.draw_severities(artefact_key, sources, config.artefact_rate, allowed)
    present = severities != jnp.asarray([source.none for source in sources])
    origins = draw_origins(patch_key, labels, config)

    def seen(volume):
        normal = augment.normalise(volume)
        patches = cut(normal, origins, config.patch)[..., None]
        return View(patches, spectrum.describe_scan(normal[None])[0])

    clean_view = seen(clean)

    def view_of(spoilt, volume):
        # An image without its artefact is the clean one, which is looked at once.
        return jax.lax.cond(spoilt, seen, lambda volume: clean_view, volume)

    def spoil(sources, severities, allowed=None):
        return augment.apply_sources(artefact_key, clean, sources, severities, allowed)

    image_view = view_of(
        jnp.any(present), spoil(sources, severities, allowed) if sources else clean
    )
    taught = sources if with_teachers else ()
    if config.teacher_input == "same":
        for_task = image_view
        repeat = lambda x: jnp.broadcast_to(x, (len(taught), *x.shape))  # noqa: E731
        for_teachers = jax.tree.map(repeat, image_view)
    else:
        alone = [spoil((source,), severities[i : i + 1]) for i, source in enumerate(taught)]
        volumes = jnp.stack(alone) if taught else jnp.zeros((0, *image.shape))
        for_task = clean_view
        for_teachers = jax.lax.map(lambda one: view_of(*one), (present[: len(taught)], volumes))
    return Sample(image_view, cut(labels, origins, config.patch), for_task, for_teachers, present)


def draw_origins(key: jax.Array, labels: jax.Array, config: SampleConfig) -> jax.Array:
    """The first voxel of each patch, `(P, 3)`, of labels `(X, Y, Z)`."""
    places = (config.patches_per_scan, config.patch_candidates, 3)
    room = jnp.asarray(labels.shape) - jnp.asarray(config.patch) + 1
    drawn = jax.random.randint(key, places, 0, room)
    middle = drawn + jnp.asarray(config.patch) // 2
    chosen = jnp.argmax(labels[middle[..., 0], middle[..., 1], middle[..., 2]] == 1, axis=1)
    return drawn[jnp.arange(config.patches_per_scan), chosen]


def cut(volume: jax.Array, origins: jax.Array, patch: tuple[int, int, int]) -> jax.Array:
    """Patches `(P, x, y, z)` of a volume `(X, Y, Z)`, from their first voxels `(P, 3)` on."""
    return jnp.stack([jax.lax.dynamic_slice(volume, origin, patch) for origin in origins])
