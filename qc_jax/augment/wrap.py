"""Wrap-around: lines of k-space are missing, so that places far apart cannot be told apart.

In the scanner: lines are left out to save time, or the field of view is smaller than the head, and
what is missing was not made up for.

How it looks: without every m-th line, copies of the head lie n / m of the field of view apart over
each other (aliasing; Pruessmann et al. 1999); without random lines the head is smeared along the
axis, as by noise with a structure (Lustig et al. 2007).

    K'(k) = 0 where line k is masked, K(k) elsewhere and at k = 0

References: K. P. Pruessmann et al., "SENSE: sensitivity encoding for fast MRI", Magnetic Resonance
in Medicine 42, 1999.  M. Lustig, D. Donoho and J. M. Pauly, "Sparse MRI", Magnetic Resonance in
Medicine 58, 2007.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Axis, Bool, Int, Key, KSpace, Number
from qc_jax.augment.kspace import filter_lines
from qc_jax.augment.source import Source


def mask_lines(k_space: KSpace, axis: Axis, masked: Callable) -> KSpace:
    """Sets k-space lines along one axis to zero, the zero-frequency line excepted.

    Args:
      k_space: what to spoil.
      axis: 0, 1 or 2.
      masked: `(line numbers, int (n,)) -> bool (n,)`.

    Example:
      Without every other line a point and its copy, half a field of view away, are alike:

      >>> from qc_jax.augment import to_image, to_k_space
      >>> point = jnp.zeros((8, 8, 8)).at[4, 4, 4].set(1.0)
      >>> masked = mask_lines(to_k_space(point), 0, lambda lines: lines % 2 == 1)
      >>> print(to_image(masked)[:, 4, 4].round(2))
      [0.5 0.  0.  0.  0.5 0.  0.  0. ]
    """
    return filter_lines(
        k_space, axis, lambda lines: 1.0 - (masked(lines) & (lines != 0)).astype(jnp.float32)
    )


def regular_lines(
    lines: Int[np.ndarray, " lines"], proportion: Number
) -> Bool[jax.Array, " lines"]:
    """Evenly spaced lines, `proportion` of them all: one in m for 1 / m, ghosts n / m apart."""
    # The zero-frequency line falls just before a masked one, never on it (proportion < 1).
    position = jnp.asarray(lines, jnp.float32) * proportion + 1e-4
    return jnp.floor(position + proportion) > jnp.floor(position)


def wrap(key: Key, k_space: KSpace, severity: Number) -> KSpace:
    """Masks the proportion `severity` of the lines along a random axis, regularly or at random."""
    axis_key, regular_key, lines_key = jax.random.split(key, 3)
    axis = jax.random.randint(axis_key, (), 0, 3)
    regular = jax.random.bernoulli(regular_key)

    def masked(lines):
        drawn = jax.random.uniform(lines_key, lines.shape) < severity
        return jnp.where(regular, regular_lines(lines, severity), drawn)

    return mask_lines(k_space, axis, masked)


WRAP = Source(
    name="wrap",
    apply=wrap,
    mild=0.1,
    severe=0.7,
    none=0.0,
    unit="proportion of lines masked",
    looks="The head folded over itself: what sticks out on one side lies over the other.",
)
