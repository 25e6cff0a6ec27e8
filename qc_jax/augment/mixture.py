"""Several artefacts around one pair of FFTs, in their physical order, and what was applied.

Images are `(X, Y, Z)` float in [0, 1].  Severities are `(N,)` float, one for each source in the
order of `sources`, in the unit of the source; `Source.none` where it is absent.
"""

import functools
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Bool, Float, Image, ImageLike, Key, KeyOf, Number
from qc_jax.augment import kspace
from qc_jax.augment.intensity import rescale
from qc_jax.augment.source import Source


def compose(
    key: Key, image: ImageLike, sources: Sequence[Source], rate: float = 0.5
) -> tuple[Image, Float[jax.Array, " N"]]:
    """Draws severities and applies them.

    Args:
      key: typed key.
      image: `(X, Y, Z)`, in [0, 1].
      sources: in their physical order; nothing else has to be registered anywhere.
      rate: probability that the image gets any artefact at all.

    Returns:
      The image, in [0, 1], and the severities `(N,)`.
    """
    severities = draw_severities(key, sources, rate)
    return apply_sources(key, image, sources, severities), severities


def draw_severities(
    key: Key,
    sources: Sequence[Source],
    rate: float = 0.5,
    allowed: Bool[Array, " N"] | None = None,
) -> Float[jax.Array, " N"]:
    """Severities `(N,)`; every source alike and on its own, so that `rate` of images get any.

    Args:
      key: typed key.
      sources: in their physical order.
      rate: probability that the image gets any artefact at all.
      allowed: `(N,)` bool, the sources that may appear, as if there were no others; None for all.
    """
    number = max(len(sources), 1) if allowed is None else jnp.maximum(jnp.sum(allowed), 1)
    each = 1.0 - (1.0 - rate) ** (1.0 / number)
    severities = []
    for i, source in enumerate(sources):
        applied_key, severity_key, _ = _source_keys(key, source)
        severity = source.severity(jax.random.uniform(severity_key))
        applied = jax.random.bernoulli(applied_key, each)
        if allowed is not None:
            applied &= allowed[i]
        severities.append(jnp.where(applied, severity, source.none))
    return jnp.stack(severities) if severities else jnp.zeros((0,))


def apply_sources(
    key: Key,
    image: ImageLike,
    sources: Sequence[Source],
    severities: Float[Array, " N"],
    allowed: Bool[Array, " N"] | None = None,
) -> Image:
    """Applies every source at its severity; with the same key, a source draws the same details.

    Args:
      key: typed key.  The key of a source depends on its name alone, so that "artefact i as in that
        image, by itself" is the same key with the other severities at `none`.
      image: `(X, Y, Z)`, in [0, 1].
      sources: in their physical order.
      severities: `(N,)`.
      allowed: `(N,)` bool, False where the severity is `none` in all images of a batch: these
        sources cost nothing then, under `vmap` neither; None for all.

    Returns:
      `(X, Y, Z)`, the magnitude scaled to [0, 1].
    """
    return _apply_sources(key, image, tuple(sources), severities, allowed)


def corrupt(key: Key, image: ImageLike, source: Source, fraction: Number) -> Image:
    """`(X, Y, Z)` with one artefact at `fraction` of the way from mild to severe."""
    severity = jnp.asarray(source.severity(fraction), jnp.float32)[None]
    return apply_sources(key, image, (source,), severity)


@functools.partial(jax.jit, static_argnums=2)
def _apply_sources(
    key: Key,
    image: ImageLike,
    sources: tuple[Source, ...],
    severities: Float[Array, " N"],
    allowed: Bool[Array, " N"] | None,
) -> Image:
    # What is absent costs nothing, unless `vmap` turns the choice into a selection.
    def through_k_space(image):
        k_space = kspace.to_k_space(image)
        for i, (source, severity) in enumerate(zip(sources, severities, strict=True)):

            def spoil(k_space, source=source, severity=severity):
                return jax.lax.cond(
                    severity != source.none,
                    source.apply,
                    lambda key, k_space, severity: k_space,
                    _source_keys(key, source)[2],
                    k_space,
                    severity,
                )

            if allowed is None:
                k_space = spoil(k_space)
            else:
                k_space = jax.lax.cond(allowed[i], spoil, lambda k_space: k_space, k_space)
        return kspace.to_image(k_space)

    applied = severities != jnp.asarray([source.none for source in sources])
    return rescale(jax.lax.cond(jnp.any(applied), through_k_space, jnp.abs, image))


def _source_keys(key: Key, source: Source) -> KeyOf[jax.Array, "3"]:
    """Keys for applying or not, severity and details: stable in the name, not in the position."""
    return jax.random.split(jax.random.fold_in(key, zlib.crc32(source.name.encode())), 3)
