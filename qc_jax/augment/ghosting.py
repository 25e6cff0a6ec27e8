"""Ghosting: the phase of the k-space lines varies periodically during the scan.

In the scanner: pulsation, breathing or an unstable gradient repeat every few lines.

How it looks: faint copies of the head along the axis, a fraction of the field of view apart, also
in the air.

    K'(k) = K(k) exp(i severity sin(2 pi k / period + phase))

Reference: M. L. Wood and R. M. Henkelman, "MR image artifacts from periodic motion", Medical
Physics 12, 1985.
"""

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.arrays import Axis, Key, KSpace, Number
from qc_jax.augment.kspace import filter_lines
from qc_jax.augment.source import Source


def modulate_lines(
    k_space: KSpace,
    axis: Axis,
    amplitude: Number,
    period: Number,
    phase: Number = 0.0,
) -> KSpace:
    """Multiplies line k along `axis` by exp(i amplitude sin(2 pi k / period + phase)).

    The n-th ghost lies n / period of the field of view away and has the intensity
    `|J_n(amplitude)|`.

    Args:
      k_space: what to spoil.
      axis: 0, 1 or 2.
      amplitude: in radians; 0 is none.
      period: in lines.
      phase: in radians.

    Example:
      Every other line by half a radian: what a point keeps, cos(1/2), and its ghost, sin(1/2):

      >>> from qc_jax.augment import to_image, to_k_space
      >>> point = jnp.zeros((8, 8, 8)).at[4, 4, 4].set(1.0)
      >>> ghosted = modulate_lines(to_k_space(point), 0, 0.5, 2.0, jnp.pi / 2)
      >>> print(to_image(ghosted)[:, 4, 4].round(2))
      [0.48 0.   0.   0.   0.88 0.   0.   0.  ]
    """

    def transfer(lines: np.ndarray) -> jax.Array:
        return jnp.exp(1j * amplitude * jnp.sin(2 * jnp.pi * lines / period + phase))

    return filter_lines(k_space, axis, transfer)


def ghosting(key: Key, k_space: KSpace, severity: Number) -> KSpace:
    """Modulation of amplitude `severity` along a random axis, every 2 to 8 lines."""
    axis_key, period_key, phase_key = jax.random.split(key, 3)
    axis = jax.random.randint(axis_key, (), 0, 3)
    period = jax.random.uniform(period_key, minval=2.0, maxval=8.0)
    phase = jax.random.uniform(phase_key, maxval=2 * jnp.pi)
    return modulate_lines(k_space, axis, severity, period, phase)


GHOSTING = Source(
    name="ghosting",
    apply=ghosting,
    mild=0.1,
    severe=1.5,
    none=0.0,
    unit="modulation of the phase in radians",
    looks="Faint copies of the head, shifted along one direction.",
)
