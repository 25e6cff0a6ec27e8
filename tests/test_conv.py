"""The CPU forms of the convolution against the backend's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from qc_jax import conv

CHANNELS = [(1, 8), (2, 4), (8, 8), (8, 16), (16, 8), (16, 16), (24, 30)]
SHAPES = [(6, 8, 12), (5, 7, 6), (4, 3, 9), (1, 1, 2)]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_direct_form_with_both_gradients(shape, channels):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *shape, channels[0]), np.float32)
    kernel = rng.standard_normal((3, 3, 3, *channels), np.float32) / 10
    cotangent = rng.standard_normal((2, *shape, channels[1]), np.float32)

    def with_gradients(convolve):
        value, pull_back = jax.vjp(convolve, x, kernel)
        return value, pull_back(cotangent)

    expected, expected_gradient = jax.jit(with_gradients, static_argnums=0)(conv.direct_conv3d)
    found, found_gradient = jax.jit(with_gradients, static_argnums=0)(conv.cpu_conv3d)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for ours, theirs in zip(found_gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(jnp.abs(theirs).max()) + 1e-6)


def test_gradient_by_finite_differences():
    x = jax.random.normal(jax.random.key(0), (1, 4, 3, 6, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 3))
    check_grads(conv.conv3d, (x, kernel), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_refuses_a_kernel_that_does_not_fit():
    with pytest.raises(AssertionError):
        conv.conv3d(jnp.zeros((1, 4, 4, 4, 2)), jnp.zeros((3, 3, 3, 3, 4)))
