"""Whole volumes by windows, and the scores made from maps."""

import jax
import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics

from qc_jax import scoring, spectrum, uncertainty
from qc_jax.network import UNet, fresh_params, look
from qc_jax.scoring import sliding

apply = jax.jit(UNet.apply, static_argnums=0)


@pytest.fixture(scope="module")
def network():
    net = UNet(num_sources=2, base_features=4, depth=2)
    return net, fresh_params(net, jax.random.key(0), (8, 8, 8))


def test_one_window_is_the_network_itself(network):
    net, params = network
    image = np.random.default_rng(0).random((8, 8, 8), np.float32)
    logits, log_variance = apply(net, params, image[None, ..., None])
    found = scoring.predict(net, params, image, (8, 8, 8))
    expected = uncertainty.scaled_softmax(logits, uncertainty.total_variance(log_variance))[0]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(found.variances, np.exp(log_variance[0]), rtol=1e-4)
    plain = stats.entropy(special.softmax(logits[0], axis=-1), axis=-1)
    np.testing.assert_allclose(found.softmax_entropy, plain, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8, 8), (13, 9, 20), (5, 30, 8)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_any_size_gives_probabilities_and_variances(network, shape, overlap):
    net, params = network
    image = np.random.default_rng(0).random(shape, np.float32)
    found = scoring.predict(net, params, image, (8, 8, 8), overlap)
    assert found.probabilities.shape == (*shape, 2) and found.variances.shape == (*shape, 3)
    np.testing.assert_allclose(found.probabilities.sum(axis=-1), 1, atol=1e-5)
    assert found.variances.min() > 0


@pytest.mark.parametrize("size", [8, 9, 16, 29])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_windows_cover_everything_with_their_overlap(size, overlap):
    wanted = np.ones((8, size, 8), bool)
    starts = [along_y.start for _, along_y, _ in sliding.patches_in(wanted, (8, 8, 8), overlap)]
    assert starts[0] == 0 and starts[-1] == size - 8
    assert np.diff(starts).max(initial=0) <= max(int(8 * (1 - overlap)), 1)


@pytest.mark.parametrize("seed", range(5))
def test_patches_are_laid_over_what_is_wanted(seed):
    rng = np.random.default_rng(seed)
    wanted = np.zeros((40, 30, 20), bool)
    for corner in rng.integers(0, 20, (3, 3)):
        wanted[
            tuple(slice(c, c + n) for c, n in zip(corner, rng.integers(1, 15, 3), strict=True))
        ] = 1
    covered = np.zeros_like(wanted)
    for where in sliding.patches_in(wanted, (8, 8, 8), 0.25):
        assert wanted[where].shape == (8, 8, 8) and wanted[where].any()
        covered[where] = True
    assert covered[wanted].all()
    assert not sliding.patches_in(wanted & False, (8, 8, 8), 0.25)


def test_a_small_part_that_is_wanted_is_in_the_middle_of_one_patch():
    wanted = np.zeros((32, 32, 32), bool)
    wanted[10:14, 20:22, 30:] = True
    assert sliding.patches_in(wanted, (8, 8, 8), 0.25) == [
        (slice(8, 16), slice(17, 25), slice(24, 32))
    ]


def test_a_level_head_knows_the_scan_from_all_its_windows():
    net = UNet(1, base_features=4, depth=2, level_head=True)
    params = fresh_params(net, jax.random.key(0), (8, 8, 8))
    image = np.random.default_rng(0).random((16, 8, 8), np.float32)
    image[8:] *= 0.1
    found = scoring.predict(net, params, image, (8, 8, 8), 0.0)
    halves = np.stack([image[:8], image[8:]])[..., None]
    levels = look(net, params, halves).patch.mean(axis=0)
    described = spectrum.describe_scan(image[None])[0]
    log_variance = apply(net, params, halves, described, levels)[1]
    np.testing.assert_allclose(found.variances, np.exp(np.concatenate(log_variance)), rtol=1e-4)
    own_levels = apply(net, params, halves)[1]
    assert np.abs(own_levels - log_variance).max() > 1e-4


def test_within_a_mask_the_network_looks_at_patches_that_are_laid_over_it(network):
    net, params = network
    image = np.random.default_rng(0).random((24, 20, 16), np.float32)
    mask = np.zeros(image.shape, bool)
    mask[2:10, 3:11, 4:12] = True
    found = scoring.predict(net, params, image, (8, 8, 8), 0.5, mask=mask)
    inside = scoring.predict(net, params, image[2:10, 3:11, 4:12], (8, 8, 8))
    np.testing.assert_allclose(found.variances[mask], inside.variances.reshape(-1, 3), rtol=1e-5)
    np.testing.assert_array_equal(found.probabilities[20, 10, 2], [1.0, 0.0])
    np.testing.assert_array_equal(found.variances[20, 10, 2], 0.0)


@pytest.mark.parametrize("function", ["_weighted_outputs", "_look"])
def test_fewer_windows_at_a_time_where_the_device_has_too_little_memory(monkeypatch, function):
    net = UNet(1, base_features=4, depth=2, level_head=True)
    network = net, fresh_params(net, jax.random.key(0), (8, 8, 8))
    image = np.random.default_rng(0).random((16, 16, 16), np.float32)
    expected = scoring.predict(*network, image, (8, 8, 8), batch_size=8)
    enough_for, whole = 2, getattr(sliding, function)

    def short_of_memory(network, params, images, *others):
        if len(jax.tree.leaves(images)[0]) > enough_for:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return whole(network, params, images, *others)

    monkeypatch.setattr(sliding, function, short_of_memory)
    found = scoring.predict(*network, image, (8, 8, 8), batch_size=8)
    np.testing.assert_allclose(found.variances, expected.variances, rtol=1e-5)
    enough_for = 0
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        scoring.predict(*network, image, (8, 8, 8), batch_size=8)


def test_usage_of_predict_that_cannot_work(network):
    with pytest.raises(ValueError, match="mask"):
        scoring.predict(*network, np.zeros((9, 8, 8)), (8, 8, 8), mask=np.ones((8, 8, 8), bool))
    with pytest.raises(ValueError, match="overlap"):
        scoring.predict(*network, np.zeros((8, 8, 8), np.float32), (8, 8, 8), 1.0)


def test_dice_against_scikit_learn():
    a, b = np.random.default_rng(0).integers(0, 2, (2, 5, 5, 5)).astype(bool)
    assert scoring.dice(a, b) == pytest.approx(metrics.f1_score(a.ravel(), b.ravel()))
    assert scoring.dice(a & False, a & False) == 1.0


def test_head_mask_is_the_head():
    grid = np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij"))
    radius = np.linalg.norm(grid, axis=0)
    image = np.where(radius < 12, 0.8, 0.01).astype(np.float32)
    image[radius < 5] = 0.0  # a dark cavity belongs to the head
    mask = scoring.head_mask(image, 8.0)
    assert scoring.dice(mask, radius < 12) > 0.9
    assert mask[16, 16, 16] and not mask[0, 0, 0]


def test_scores_are_medians_over_the_mask():
    variances = np.random.default_rng(0).random((4, 4, 4, 3)) + 0.01
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3] = True
    expected = np.sort(variances[1:3].reshape(-1, 3), axis=0)[15:17].mean(axis=0)
    np.testing.assert_allclose(scoring.source_scores(variances, mask), expected)


def test_expected_dice_is_the_mean_over_truths_drawn_from_the_probabilities():
    rng = np.random.default_rng(0)
    probability, mask = rng.beta(0.5, 0.8, (20, 20, 20)), rng.random((20, 20, 20)) < 0.5
    truths = rng.random((200, *probability.shape)) < probability
    drawn = [scoring.dice((probability > 0.5)[mask], truth[mask]) for truth in truths]
    assert scoring.expected_dice(probability, mask) == pytest.approx(np.mean(drawn), abs=0.003)
    assert scoring.expected_dice(np.zeros((2, 2, 2)), np.ones((2, 2, 2), bool)) == 1.0
