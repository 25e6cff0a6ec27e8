"""The losses of Shaw et al. (MIDL 2020), Eq. 4 to 7.

Logits are `(..., K)` float, labels `(...)` int in [0, K), variances `(...)` positive.  Losses per
voxel keep the shape of the labels, the caller takes the mean; the terms of Eq. 7 compare whole maps
`(..., X, Y, Z)` and return one number.
"""

import chex
import jax
import jax.numpy as jnp
import optax

from qc_jax import uncertainty
from qc_jax.arrays import Array, Float, Integer, Number

Maps = Float[Array, "*batch X Y Z"]
SSIM_WEIGHT = 0.1
"""lambda of Eq. 7."""


def weighted_cross_entropy(
    logits: Float[Array, "*voxels K"],
    labels: Integer[Array, "*voxels"],
    variance: Float[Array, "*voxels"],
    epsilon: Number,
) -> Float[jax.Array, "*voxels"]:
    """Eq. 4: CE / (variance + epsilon) + 1/2 log(variance + epsilon), per voxel.

    CE is the unscaled cross-entropy of softmax(logits).  At its minimum over the variance,
    variance + epsilon = 2 CE.

    Args:
      logits: `(..., K)`.
      labels: `(...)`, int.
      variance: `(...)`, positive.
      epsilon: keeps the weight finite; the smaller, the dearer a confident mistake.

    Returns:
      `(...)`.

    Raises:
      AssertionError: the shapes do not fit.
    """
    chex.assert_equal_shape([labels, variance])
    chex.assert_equal_shape_prefix([logits, labels], labels.ndim)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return attenuated(cross_entropy, variance, epsilon)


def attenuated(
    cross_entropy: Float[Array, "*voxels"], variance: Float[Array, "*voxels"], epsilon: Number
) -> Float[jax.Array, "*voxels"]:
    """Eq. 4 of a cross-entropy that is known, of a voxel or the mean over some; all `(...)`."""
    softened = jnp.add(variance, epsilon)
    return jnp.divide(cross_entropy, softened) + 0.5 * jnp.log(softened)


def combined_loss(
    logits: Float[Array, "*voxels K"],
    labels: Integer[Array, "*voxels"],
    log_variance: Float[Array, "*voxels V"],
    epsilon: Number,
) -> Float[jax.Array, "*voxels"]:
    """Eq. 5: Eq. 4 with the variance of the task plus those of all sources.

    Args:
      logits: `(..., K)`.
      labels: `(...)`, int.
      log_variance: `(..., 1 + N)`, the task first.
      epsilon: as in Eq. 4.

    Returns:
      `(...)`.
    """
    total = uncertainty.total_variance(log_variance)
    return weighted_cross_entropy(logits, labels, total, epsilon)


def consistency(
    predicted: Maps,
    target: Maps,
    gradient_weight: float = 1.0,
    ssim_weight: float = SSIM_WEIGHT,
    norm: int = 1,
) -> Float[jax.Array, ""]:
    """Eq. 7: L1 + L_grad + 0.1 L_SSIM between two maps of uncertainty.

    Args:
      predicted: `(..., X, Y, Z)`.
      target: the same shape, from the frozen network.
      gradient_weight: 1 in the paper.
      ssim_weight: 0.1 in the paper.
      norm: 1 in the paper; 2 takes the mean square of the difference instead of L1.

    Returns:
      A scalar, 0 for equal maps.

    Raises:
      AssertionError: the shapes differ.
    """
    chex.assert_equal_shape([predicted, target])
    return (
        jnp.mean(jnp.abs(predicted - target) ** norm)
        + gradient_weight * gradient_loss(predicted, target)
        + ssim_weight * ssim_loss(predicted, target)
    )


def log_consistency(
    predicted: Maps,
    target: Maps,
    gradient_weight: float = 1.0,
    ssim_weight: float = SSIM_WEIGHT,
    norm: int = 2,
) -> Float[jax.Array, ""]:
    """`consistency` of the logarithms of two variances, where the large ones do not rule.

    The target is held above `uncertainty.VARIANCE_FLOOR`, not the prediction: that one keeps its
    gradient.
    """
    held = jnp.maximum(target, uncertainty.VARIANCE_FLOOR)
    return consistency(jnp.log(predicted), jnp.log(held), gradient_weight, ssim_weight, norm)


def gradient_loss(predicted: Maps, target: Maps) -> Float[jax.Array, ""]:
    """L_grad: L1 of the differences between neighbouring voxels, summed over the three axes."""
    difference = predicted - target
    along = [jnp.mean(jnp.abs(jnp.diff(difference, axis=axis))) for axis in (-3, -2, -1)]
    return jnp.sum(jnp.stack(along))


def ssim_loss(predicted: Maps, target: Maps) -> Float[jax.Array, ""]:
    """L_SSIM: 1 - mean structural similarity."""
    return 1.0 - jnp.mean(ssim(predicted, target))


def ssim(predicted: Maps, target: Maps) -> Float[jax.Array, "*batch X-2 Y-2 Z-2"]:
    """Simplified structural similarity: a uniform window of 3x3x3 voxels.

    The constants are those of Wang et al. (2004), c1 = (0.01 L)^2 and c2 = (0.03 L)^2, with the
    dynamic range L = 1: a variance of 1 in logit space is where Eq. 1 leaves the logits as they
    are.  Moments are those of the population (divided by 27), over windows wholly inside.

    Args:
      predicted: `(..., X, Y, Z)`.
      target: the same shape.

    Returns:
      `(..., X - 2, Y - 2, Z - 2)`, within [-1, 1].
    """
    predicted, target = jnp.asarray(predicted), jnp.asarray(target)
    c1, c2 = 0.01**2, 0.03**2
    mean_p, mean_t = _mean_3x3x3(predicted), _mean_3x3x3(target)
    var_p = _mean_3x3x3(predicted * predicted) - mean_p * mean_p
    var_t = _mean_3x3x3(target * target) - mean_t * mean_t
    covariance = _mean_3x3x3(predicted * target) - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    structure = (2 * covariance + c2) / (var_p + var_t + c2)
    return luminance * structure


def _mean_3x3x3(x: jax.Array) -> jax.Array:
    for axis in (-3, -2, -1):
        size = x.shape[axis] - 2
        first, middle, last = (jax.lax.slice_in_dim(x, k, k + size, axis=axis) for k in range(3))
        x = (first + middle + last) / 3.0
    return x
