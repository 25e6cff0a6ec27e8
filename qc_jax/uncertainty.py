"""From logits and log-variances to probabilities, entropies and error bars (Eq. 1, section 5).

Logits are `(..., K)`; a variance is `(...)` and belongs to all K logits of its voxel.  The network
predicts s = log variance, so that variance = exp(s) is positive whatever it predicts.
"""

import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Float, Number

LOG_VARIANCE_LIMIT = 20.0
"""Log-variances are held within plus and minus this: no overflow in float32, no zero."""

VARIANCE_FLOOR = 0.01
"""Smaller variances count as none: at its minimum, Eq. 4 asks for twice the cross-entropy, and a
voxel whose class is 99.5 % sure has that."""


def variance(log_variance: Float[Array, "*any"]) -> Float[jax.Array, "*any"]:
    """exp(s), with s held within `LOG_VARIANCE_LIMIT`; any shape."""
    return jnp.exp(jnp.clip(log_variance, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT))


def total_variance(log_variance: Float[Array, "*voxels N"]) -> Float[jax.Array, "*voxels"]:
    """Task plus all sources (the variance sum law of section 3), `(..., 1 + N)` to `(...)`."""
    return jnp.sum(variance(log_variance), axis=-1)


def scaled_softmax(
    logits: Float[Array, "*voxels K"], variance: Float[Array, "*voxels"]
) -> Float[jax.Array, "*voxels K"]:
    """Eq. 1: softmax(f / variance), `(..., K)` and `(...)` to `(..., K)`."""
    return jax.nn.softmax(logits / variance[..., None], axis=-1)


def entropy(probabilities: Float[Array, "*voxels K"]) -> Float[jax.Array, "*voxels"]:
    """H = -sum p log p in nats, `(..., K)` to `(...)`, within [0, log K]; p = 0 counts as 0."""
    return jnp.sum(jax.scipy.special.entr(probabilities), axis=-1)


def variance_from_entropy(entropy: Number | Float[Array, "*any"]) -> Float[jax.Array, "*any"]:
    """Variance of the Gaussian of that differential entropy, H = 1/2 log(2 pi e variance).

    The relation is one for a continuous variable.  A voxel of two classes has H <= log 2, so that
    the result lies within [0.06, 0.23]: even a certain voxel (H = 0) gets 1 / (2 pi e).  Only
    differences between scans mean something, as the paper takes them.
    """
    return jnp.exp(2.0 * entropy) / (2.0 * jnp.pi * jnp.e)
