"""The U-Net against the published layout and independent versions of its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.measure import block_reduce

from qc_jax import cubes, network, spectrum
from qc_jax.network import UNet

apply = jax.jit(UNet.apply, static_argnums=0)
look = jax.jit(network.look, static_argnums=0)


def count(params) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


def test_parameter_count_of_the_published_layout():
    # Input and output channels of the 3x3x3 convolutions, from NiftyNet's no-new-net by hand.
    encoder = [(1, 30), (30, 30), (30, 60), (60, 60), (60, 120), (120, 120), (120, 240), (240, 240)]
    bottleneck = [(240, 480), (480, 240)]
    decoder = [
        (480, 240),
        (240, 120),
        (240, 120),
        (120, 60),
        (120, 60),
        (60, 30),
        (60, 30),
        (30, 30),
    ]
    layers = encoder + bottleneck + decoder
    expected = sum(27 * i * o + 2 * o for i, o in layers)  # kernel, scale and bias of the norm
    expected += 30 * 2 + 2 + 30 * 5 + 5  # heads: two classes, task and four variances
    net = UNet(num_sources=4)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 16, 16, 16, 1)))
    assert count(params) == expected


@pytest.mark.parametrize("level_head", [False, True])
@pytest.mark.parametrize("num_sources", [0, 3])
def test_shapes_of_the_heads(num_sources, level_head):
    net = UNet(num_sources, num_classes=3, base_features=4, depth=2, level_head=level_head)
    image = jax.random.uniform(jax.random.key(0), (2, 4, 6, 8, 1))
    params = network.fresh_params(net, jax.random.key(1), image.shape[1:4])
    logits, log_variance = apply(net, params, image)
    assert logits.shape == (2, 4, 6, 8, 3)
    assert log_variance.shape == (2, 4, 6, 8, 1 + num_sources)


def test_only_the_level_head_sees_the_contrast_of_the_window():
    image = jax.random.uniform(jax.random.key(0), (1, 8, 8, 8, 1))
    for level_head in (False, True):
        net = UNet(1, base_features=4, depth=2, level_head=level_head)
        params = network.fresh_params(net, jax.random.key(1), image.shape[1:4])
        change = apply(net, params, image)[1] - apply(net, params, 20 * image)[1]
        assert (float(jnp.abs(change).max()) > 1e-3) == level_head


def test_windows_of_one_scan_share_their_levels():
    windows = jax.random.uniform(jax.random.key(0), (4, 8, 8, 8, 1))
    windows *= jnp.array([1.0, 0.5, 0.2, 0.1])[:, None, None, None, None]
    net = UNet(1, base_features=4, depth=2, level_head=True)
    params = network.fresh_params(net, jax.random.key(1), (8, 8, 8))
    levels = look(net, params, windows).patch
    pairs = windows.reshape(2, 2, 8, 8, 8, 1)
    spectra = spectrum.describe_scan(pairs[:, 0, ..., 0])
    by_pairs = network.apply_to_scans(net, params, pairs, spectra)[1]
    for scan in (0, 1):
        of_scan = levels[2 * scan : 2 * scan + 2].mean(axis=0)
        expected = apply(net, params, pairs[scan], spectra[scan], of_scan)[1]
        np.testing.assert_allclose(by_pairs[scan], expected, atol=1e-6)
    apart = apply(net, params, windows)[1].reshape(by_pairs.shape)
    assert float(jnp.abs(by_pairs - apart).max()) > 1e-4


def test_fresh_parameters_are_those_of_flax():
    net = UNet(1, base_features=2, depth=2, level_head=True)
    found = network.fresh_params(net, jax.random.key(1), (4, 4, 4))
    expected = net.init(jax.random.key(1), jnp.zeros((1, 4, 4, 4, 1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    shapes = jax.eval_shape(lambda: network.fresh_params(net, jax.random.key(1), (4, 4, 4)))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(lambda x: x.shape, shapes)


def test_refuses_windows_that_cannot_be_halved():
    with pytest.raises(ValueError, match="multiple of 16"):
        UNet().init(jax.random.key(0), jnp.zeros((1, 16, 24, 16, 1)))


def test_instance_norm_against_numpy():
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 5, 6, 3)).astype(np.float32)
    scale, bias = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])
    mean, std = x.mean((1, 2, 3), keepdims=True), x.std((1, 2, 3), keepdims=True)
    expected = (x - mean) / np.sqrt(std**2 + 1e-5) * scale + bias
    np.testing.assert_allclose(network.instance_norm(x, scale, bias), expected, atol=1e-5)


def test_local_spread_against_scikit_image():
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 6, 8, 3)).astype(np.float32)
    expected = np.log(block_reduce(x, (1, 2, 2, 2, 1), np.std))
    np.testing.assert_allclose(cubes.local_log_spread(x, 2), expected, atol=1e-4)


def test_max_pool_against_scikit_image():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 8, 3))
    expected = block_reduce(x, (1, 2, 2, 2, 1), np.max)
    np.testing.assert_allclose(cubes.max_pool(jnp.asarray(x)), expected, rtol=1e-6)


def test_upsampling_is_linear_interpolation():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 2))
    expected = jax.image.resize(x, (2, 6, 8, 10, 2), "linear")
    np.testing.assert_allclose(cubes.upsample(x), expected, atol=1e-5)
