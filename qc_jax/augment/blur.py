"""Blur: k-space was sampled less far out than the voxels promise.

In the scanner: fewer lines along one axis, thick slices or a resolution that was chosen too low,
and zeros in their place up to the matrix that is stored.

How it looks: detail is lost along one axis, the folds of the cortex run together, and sharp edges
ring (Gibbs; Czervionke et al. 1988).

    K'(k) = K(k) where abs(k) <= n / (2 ratio) along the axis, 0 beyond

Reference: L. F. Czervionke et al., "Characteristic features of MR truncation artifacts", American
Journal of Roentgenology 151, 1988.
"""

import jax
import jax.numpy as jnp

from qc_jax.arrays import Axis, Key, KSpace, Number
from qc_jax.augment.kspace import filter_lines
from qc_jax.augment.source import Source


def low_pass(k_space: KSpace, axis: Axis, ratio: Number) -> KSpace:
    """Truncates k-space along one axis, as an acquisition of lower resolution.

    Args:
      k_space: what to blur.
      axis: 0, 1 or 2.
      ratio: down-sampling ratio; lines within `n / (2 ratio)` of the zero frequency stay; 1 is
        none.

    Example:
      Five of eight lines stay, and so much of the height of a point:

      >>> from qc_jax.augment import to_image, to_k_space
      >>> point = jnp.zeros((8, 8, 8)).at[4, 4, 4].set(1.0)
      >>> float(to_image(low_pass(to_k_space(point), 0, 2.0)).max())
      0.625
    """
    size = jnp.asarray(k_space.shape)[axis]
    return filter_lines(
        k_space, axis, lambda lines: (jnp.abs(lines) * 2.0 * ratio <= size).astype(jnp.float32)
    )


def blur(key: Key, k_space: KSpace, severity: Number) -> KSpace:
    """Down-sampling by the ratio `severity` along a random axis."""
    return low_pass(k_space, jax.random.randint(key, (), 0, 3), severity)


BLUR = Source(
    name="blur",
    apply=blur,
    mild=2.0,
    severe=12.0,
    none=1.0,
    unit="down-sampling ratio",
    looks="Resolution lost along one direction: the folds run together.",
)
