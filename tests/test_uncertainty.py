"""Scaled softmax, entropy and the relation to a Gaussian's variance, against scipy."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from qc_jax import uncertainty


def test_eq_1_against_scipy():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    variance = np.array([0.1, 0.5, 1.0, 2.0, 10.0])
    expected = special.softmax(logits / variance[:, None], axis=-1)
    np.testing.assert_allclose(
        uncertainty.scaled_softmax(jnp.asarray(logits), variance), expected, atol=1e-6
    )


def test_entropy_against_scipy_and_at_its_ends():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 10)
    np.testing.assert_allclose(uncertainty.entropy(p), stats.entropy(p, axis=-1), atol=1e-6)
    assert uncertainty.entropy(jnp.array([1.0, 0.0])) == 0
    assert uncertainty.entropy(jnp.array([0.5, 0.5])) == pytest.approx(np.log(2))


def test_variance_and_entropy_of_a_gaussian():
    variance = np.array([0.1, 1.0, 7.0])
    entropy = stats.norm(scale=np.sqrt(variance)).entropy()
    np.testing.assert_allclose(uncertainty.variance_from_entropy(entropy), variance, rtol=1e-5)


def test_total_is_the_sum():
    found = uncertainty.total_variance(jnp.log(jnp.array([[1.0, 2.0, 3.0]])))
    np.testing.assert_allclose(found, [6.0], rtol=1e-6)
