"""k-space: the Fourier transform of an image, and what every artefact needs of it.

A k-space is `(X, Y, Z)` complex64, the Fourier transform of the image in the order of `fftfreq`,
the zero frequency first.  It need not be Hermitian: the image of a spike or of noise is complex,
which is what makes noise Rician in the magnitude.

Each artefact has a file of its own beside this one: `motion`, `spike`, `noise`, `ghosting`, `blur`
and `wrap`.  There it stands twice, deterministic (`add_spike`, the parameters given) and random
(`spike`, a pure function of key, k-space and severity that draws the rest).  Severities are in the
unit of the artefact; at its `none` value an artefact is the identity.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Axis, Float, Image, ImageLike, Inexact, KSpace


def to_k_space(image: ImageLike) -> KSpace:
    """`(X, Y, Z)` real image to its k-space, by a real FFT: the other half is its mirror image."""
    chex.assert_rank(image, 3)
    half = jnp.fft.rfftn(image)
    # The sample at -k is the conjugate of that at k: reversed, and the zero frequency first again.
    mirrored = jnp.flip(half[:, :, 1 : (image.shape[2] + 1) // 2])
    mirrored = jnp.conj(jnp.roll(mirrored, (1, 1), (0, 1)))
    return jnp.concatenate([half, mirrored], axis=2)


def to_image(k_space: KSpace) -> Image:
    """`(X, Y, Z)` magnitude image, not scaled."""
    image = jnp.fft.ifftn(k_space)
    squared = jnp.real(image) ** 2 + jnp.imag(image) ** 2
    positive = squared > 0  # the root has no gradient at zero
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def filter_lines(
    k_space: Inexact[jax.Array, "X Y Z"],
    axis: Axis,
    transfer: Callable[[np.ndarray], jax.Array],
) -> Inexact[jax.Array, "X Y Z"]:
    """Multiplies the k-space lines along one axis by a transfer function.

    Args:
      k_space: what to filter; an image, whose lines are places, is filtered likewise.
      axis: 0, 1 or 2; may be traced.
      transfer: `(line numbers, int (n,)) -> (n,)` real or complex.  The line numbers are in
        `fftfreq` order: 0, 1, ..., -2, -1.
    """
    factor = jnp.ones(())
    for a, size in enumerate(k_space.shape):
        lines = np.rint(np.fft.fftfreq(size) * size).astype(int)
        along = tuple(slice(None) if i == a else None for i in range(3))
        factor = factor * jnp.where(jnp.equal(axis, a), transfer(lines), 1.0)[along]
    return (k_space * factor).astype(k_space.dtype)


def mean_intensity(k_space: KSpace) -> Float[jax.Array, ""]:
    """Magnitude of the image's mean, from the zero frequency."""
    return jnp.abs(k_space[0, 0, 0]) / k_space.size


def mean_power(k_space: KSpace) -> Float[jax.Array, ""]:
    """Mean squared magnitude of the image, by Parseval's theorem."""
    squared = jnp.real(k_space) ** 2 + jnp.imag(k_space) ** 2
    return jnp.sum(squared / k_space.size) / k_space.size
