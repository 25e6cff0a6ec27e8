"""Ghosting: the phase of the k-space lines varies periodically during the scan.

Pulsation, breathing or an unstable gradient repeat every few lines and leave copies of the head, a
fraction of the field of view apart.
"""

import jax
import jax.numpy as jnp
import numpy as np

from qc_jax.augment.kspace import Source, filter_lines


def modulate_lines(
    k_space: jax.Array,
    axis: jax.Array | int,
    amplitude: jax.Array | float,
    period: jax.Array | float,
    phase: jax.Array | float = 0.0,
) -> jax.Array:
    """Multiplies line k along `axis` by exp(i amplitude sin(2 pi k / period + phase)).

    The n-th ghost lies n / period of the field of view away and has the intensity
    `|J_n(amplitude)|`.

    Args:
      k_space: what to spoil.
      axis: 0, 1 or 2.
      amplitude: in radians; 0 is none.
      period: in lines.
      phase: in radians.
    """

    def transfer(lines: np.ndarray) -> jax.Array:
        return jnp.exp(1j * amplitude * jnp.sin(2 * jnp.pi * lines / period + phase))

    return filter_lines(k_space, axis, transfer)


def ghosting(key: jax.Array, k_space: jax.Array, severity: jax.Array) -> jax.Array:
    """Modulation of amplitude `severity` along a random axis, every 2 to 8 lines."""
    axis_key, period_key, phase_key = jax.random.split(key, 3)
    axis = jax.random.randint(axis_key, (), 0, 3)
    period = jax.random.uniform(period_key, minval=2.0, maxval=8.0)
    phase = jax.random.uniform(phase_key, maxval=2 * jnp.pi)
    return modulate_lines(k_space, axis, severity, period, phase)


GHOSTING = Source("ghosting", ghosting, 0.1, 1.5, 0.0, "modulation of the phase in radians")
