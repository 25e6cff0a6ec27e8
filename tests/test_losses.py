"""Eq. 4 to 7 against a transcription in numpy, closed forms and scikit-image."""

import chex
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from qc_jax import losses


@pytest.fixture
def voxels():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2, 4, 5, 6, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (2, 4, 5, 6))
    log_variance = rng.normal(0, 1, (2, 4, 5, 6, 4)).astype(np.float32)
    return logits, labels, log_variance


def numpy_cross_entropy(logits, labels):
    """-f_y + log sum_c exp f_c, as below Eq. 2."""
    chosen = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return -chosen + np.log(np.exp(logits).sum(axis=-1))


def test_eq_4_and_5_against_numpy(voxels):
    logits, labels, log_variance = voxels
    total = np.exp(log_variance).sum(axis=-1) + 0.05
    expected = numpy_cross_entropy(logits, labels) / total + 0.5 * np.log(total)
    found = losses.combined_loss(logits, labels, log_variance, 0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    task = np.exp(log_variance[..., 0])
    expected = numpy_cross_entropy(logits, labels) / (task + 0.01) + 0.5 * np.log(task + 0.01)
    found = losses.weighted_cross_entropy(logits, labels, task, 0.01)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_unit_variance_without_epsilon_is_the_cross_entropy(voxels):
    logits, labels, _ = voxels
    found = losses.combined_loss(logits, labels, jnp.zeros((*labels.shape, 1)), 0.0)
    np.testing.assert_allclose(found, numpy_cross_entropy(logits, labels), rtol=1e-5, atol=1e-5)


def test_least_at_twice_the_cross_entropy(voxels):
    logits, labels, _ = voxels
    best = 2 * numpy_cross_entropy(logits, labels)
    slope = jax.grad(lambda v: losses.weighted_cross_entropy(logits, labels, v, 0.0).sum())(best)
    np.testing.assert_allclose(slope * best, 0, atol=1e-3)


def test_gradients_by_finite_differences(voxels):
    logits, labels, log_variance = (jnp.asarray(x[:1, :2, :2, :2]) for x in voxels)
    loss = lambda f, s: losses.combined_loss(f, labels, s, 0.05).sum()  # noqa: E731
    chex.assert_numerical_grads(loss, (logits, log_variance), order=1, atol=2e-2, rtol=2e-2)


def test_no_overflow_whatever_the_network_predicts(voxels):
    logits, labels, _ = voxels
    for extreme in (-1e4, 1e4):
        loss = lambda s: losses.combined_loss(logits, labels, s, 1e-3).mean()  # noqa: E731
        value, slope = jax.value_and_grad(loss)(jnp.full((*labels.shape, 2), extreme))
        chex.assert_tree_all_finite((value, slope))


def test_ssim_against_scikit_image():
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(7, 8, 9))
    b = np.clip(a + rng.normal(0, 0.2, a.shape), 0, None)
    _, expected = structural_similarity(
        a, b, win_size=3, data_range=1.0, full=True, use_sample_covariance=False
    )
    found = losses.ssim(a[None], b[None])[0]
    np.testing.assert_allclose(found, expected[1:-1, 1:-1, 1:-1], atol=2e-4)


def test_eq_7_against_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=(2, 2, 6, 7, 8)).astype(np.float32)
    l1 = np.abs(a - b).mean()
    gradient = sum(np.abs(np.diff(a, axis=k) - np.diff(b, axis=k)).mean() for k in (1, 2, 3))
    windows = lambda x: np.lib.stride_tricks.sliding_window_view(x, (3, 3, 3), (1, 2, 3))  # noqa: E731
    wa, wb, inside = windows(a), windows(b), (-3, -2, -1)
    ma, mb = wa.mean(inside), wb.mean(inside)
    cross = (wa * wb).mean(inside) - ma * mb
    ssim = (2 * ma * mb + 1e-4) * (2 * cross + 9e-4)
    ssim /= (ma**2 + mb**2 + 1e-4) * (wa.var(inside) + wb.var(inside) + 9e-4)
    expected = l1 + gradient + 0.1 * (1 - ssim.mean())
    assert losses.consistency(a, b) == pytest.approx(expected, abs=1e-4)
    assert losses.consistency(a, b, 0.0, 0.0) == pytest.approx(l1, abs=1e-6)
    squares = np.mean((np.asarray(a) - np.asarray(b)) ** 2)
    assert losses.consistency(a, b, 0.0, 0.0, norm=2) == pytest.approx(squares, abs=1e-6)
    assert losses.consistency(a, a) == pytest.approx(0, abs=1e-5)


def test_logarithms_are_compared_above_the_floor():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.02, 2, size=(2, 2, 6, 7, 8)).astype(np.float32)
    squares = np.mean((np.log(a) - np.log(b)) ** 2)
    assert losses.log_consistency(a, b, 0.0, 0.0) == pytest.approx(squares, rel=1e-5)
    nothing, floor = jnp.zeros_like(a), jnp.full_like(a, 0.01)
    assert losses.log_consistency(a, nothing) == losses.log_consistency(a, floor)
    assert float(jnp.abs(jax.grad(losses.log_consistency)(floor / 2, nothing)).max()) > 0


def test_eq_7_of_patches_of_scans_is_that_of_patches():
    a, b = np.random.default_rng(0).uniform(size=(2, 2, 3, 5, 6, 7)).astype(np.float32)
    flat = float(losses.consistency(a.reshape(6, 5, 6, 7), b.reshape(6, 5, 6, 7)))
    assert losses.consistency(a, b) == pytest.approx(flat, rel=1e-6)


def test_shapes_that_do_not_fit_are_refused():
    """By the types in a test, by an assertion without them."""
    with pytest.raises((AssertionError, jaxtyping.TypeCheckError)):
        losses.consistency(jnp.zeros((1, 4, 4, 4)), jnp.zeros((1, 4, 4, 5)))
    with pytest.raises((AssertionError, jaxtyping.TypeCheckError)):
        losses.weighted_cross_entropy(jnp.zeros((3, 2)), jnp.zeros(3, int), jnp.ones(4), 0.0)
