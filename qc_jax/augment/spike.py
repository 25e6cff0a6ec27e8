"""RF spike: a few samples of k-space are far too strong.

In the scanner: a discharge, of static electricity, a loose screw or a failing cable, is received
with the signal while one sample is acquired (Heiland 2008).

How it looks: each sample is a plane wave, so that one spike lays parallel stripes over the whole
image, and several a pattern like herringbone, outside the head as well.

    K'(k_0) = K(k_0) + severity * mean(abs(image)) * number of voxels * exp(i phase)

Reference: S. Heiland, "From A as in aliasing to Z as in zipper: artifacts in MRI", Clinical
Neuroradiology 18, 2008.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Float, Int, Key, KSpace, Number
from qc_jax.augment.kspace import mean_intensity
from qc_jax.augment.source import Source


def add_spike(
    k_space: KSpace,
    location: Int[Array, "*spikes 3"] | Sequence[int],
    severity: Number | Float[Array, "*spikes"],
    phase: Number | Float[Array, "*spikes"] = 0.0,
) -> KSpace:
    """Samples of k-space far too strong: stripes exp(2 pi i k.x + phase) over the image.

    Args:
      k_space: what to spoil.
      location: `(3,)` indices (negative ones count from the end), the frequency of the stripes in
        cycles per field of view; or `(n, 3)` for n spikes.
      severity: amplitude of the stripes over the mean intensity of the image, one or `(n,)`; 0 is
        none.
      phase: in radians, one or `(n,)`.

    Example:
      Two stripes across a uniform image, half as strong as it is:

      >>> from qc_jax.augment import to_image, to_k_space
      >>> k_space = to_k_space(jnp.ones((8, 8, 8)))
      >>> striped = to_image(add_spike(k_space, (2, 0, 0), 0.5))
      >>> print(striped[:5, 0, 0].round(2))
      [1.5  1.12 0.5  1.12 1.5 ]
    """
    location = jnp.moveaxis(jnp.asarray(location) % jnp.asarray(k_space.shape), -1, 0)
    amplitude = severity * mean_intensity(k_space) * k_space.size
    return k_space.at[tuple(location)].add(amplitude * jnp.exp(1j * jnp.asarray(phase)))


def spike(key: Key, k_space: KSpace, severity: Number, most: int = 3) -> KSpace:
    """One to `most` spikes, uniform over k-space less the zero frequency, sharing `severity`."""
    number_key, location_key, phase_key = jax.random.split(key, 3)
    number = jax.random.randint(number_key, (), 1, most + 1)
    flat = jax.random.randint(location_key, (most,), 1, k_space.size)
    locations = jnp.stack(jnp.unravel_index(flat, k_space.shape), axis=-1)
    phases = jax.random.uniform(phase_key, (most,), maxval=2 * jnp.pi)
    shares = jnp.where(jnp.arange(most) < number, severity / jnp.sqrt(number), 0.0)
    return add_spike(k_space, locations, shares, phases)


SPIKE = Source(
    name="spike",
    apply=spike,
    mild=0.1,
    severe=2.0,
    none=0.0,
    unit="stripe amplitude / mean intensity",
    looks="An RF spike: stripes over the whole image.",
)
