"""What pipelines do to scans, against numpy, scipy and what half a voxel does to noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from qc_jax.augment import pipeline
from qc_jax.errors import ConfigError
from tests.scanning import smooth_head

HEAD = smooth_head()
INNER = (slice(3, -3),) * 3
"""Without what comes in from outside, which each method treats in its way."""


@pytest.mark.parametrize("method", pipeline.METHODS)
def test_whole_voxels_are_numpys_roll(method):
    found = pipeline.shift(jnp.asarray(HEAD), (2.0, -1.0, 3.0), method)
    expected = np.roll(HEAD, (2, -1, 3), (0, 1, 2))
    np.testing.assert_allclose(found[INNER], expected[INNER], atol=1e-6)


def test_a_part_of_a_voxel_is_scipys_shift():
    found = pipeline.shift(jnp.asarray(HEAD), (0.3, -0.6, 0.5), "linear")
    expected = ndimage.shift(HEAD, (0.3, -0.6, 0.5), order=1, mode="nearest")
    np.testing.assert_allclose(found[INNER], expected[INNER], atol=1e-6)
    smooth = ndimage.gaussian_filter(HEAD, 1.0)
    expected = ndimage.fourier_shift(np.fft.fftn(smooth), (0.3, -0.6, 0.5))
    for method, tolerance in (("sinc", 1e-5), ("cubic", 0.02)):
        found = pipeline.shift(jnp.asarray(smooth), (0.3, -0.6, 0.5), method)
        expected_here = np.fft.ifftn(expected).real[INNER]
        np.testing.assert_allclose(found[INNER], expected_here, atol=tolerance)


@pytest.mark.parametrize(
    ("method", "left"), [("linear", 0.5), ("cubic", 2 * (9 / 16) ** 2 + 2 / 256), ("sinc", 1.0)]
)
def test_half_a_voxel_leaves_its_share_of_the_noise(method, left):
    noise = np.random.default_rng(0).normal(size=(40, 41, 43)).astype(np.float32)
    found = np.asarray(pipeline.shift(jnp.asarray(noise), (0.5, 0.0, 0.0), method))
    assert found[3:-3].var() == pytest.approx(left, rel=0.05)


def test_cubic_interpolation_is_that_of_keys():
    image = jax.random.uniform(jax.random.key(0), (12, 9, 10))
    found = pipeline.resample(image, (1, 1, 1), (24, 9, 10), (0.5, 1, 1), method="cubic")
    expected = jax.image.resize(image, (24, 9, 10), "cubic")
    np.testing.assert_allclose(found[4:-4], expected[4:-4], atol=1e-5)


def test_a_tilt_is_scipys_in_millimetres():
    degrees, size = np.array([4.0, -3.0, 6.0]), np.array([1.0, 1.5, 2.0])
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    matrix = np.diag(1 / size) @ (about_z @ about_y @ about_x).T @ np.diag(size)
    centre = (np.array(HEAD.shape) - 1) / 2
    expected = ndimage.affine_transform(
        HEAD, matrix, centre - matrix @ centre, order=1, mode="grid-constant"
    )
    found = pipeline.tilt(jnp.asarray(HEAD), degrees, size)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    smooth = ndimage.gaussian_filter(np.pad(HEAD, 8), 1.5)
    centre = (np.array(smooth.shape) - 1) / 2
    expected = ndimage.affine_transform(smooth, matrix, centre - matrix @ centre, order=5)
    found = pipeline.tilt(jnp.asarray(smooth), degrees, size, "sinc")
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_conformed_scans_have_cubes_over_the_same_field_of_view():
    scan = jnp.ones((20, 24, 10))
    found = pipeline.conform(scan, (1.2, 1.0, 3.0))
    assert found.shape == (24, 24, 30)
    np.testing.assert_allclose(found, 1.0, atol=1e-6)
    ramp = jnp.broadcast_to(3.0 * jnp.arange(10.0), (20, 24, 10))
    found = pipeline.conform(ramp, (1.0, 1.0, 3.0))
    np.testing.assert_allclose(found[0, 0, 1:-1], np.arange(28), atol=1e-5)


def test_a_face_is_in_front_and_below_and_holds_no_brain():
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 44)), indexing="ij"))
    brain = np.sum((grid - np.array([0, -0.1, 0.2]).reshape(3, 1, 1, 1)) ** 2, axis=0) < 0.4
    face = pipeline.face(brain)
    assert not (face & brain).any() and 0.05 < face.mean() < 0.3
    places = np.argwhere(face).mean(axis=0) - np.argwhere(brain).mean(axis=0)
    assert places[1] > 5 and places[2] < -5 and abs(places[0]) < 1
    head = pipeline.remove(jnp.ones(brain.shape), face)
    assert head.sum() == (~face).sum()
    with pytest.raises(ConfigError, match="no face is found"):
        pipeline.face(np.zeros((4, 4, 4), bool))


def test_standardised_scans_have_mean_0_and_spread_1_in_the_head():
    found = np.asarray(pipeline.standardise(jnp.asarray(300 * HEAD)))
    inside = np.mean(HEAD) < HEAD
    assert found[inside].mean() == pytest.approx(0.0, abs=1e-4)
    assert found[inside].std() == pytest.approx(1.0, abs=1e-4)
    assert found.min() < -1


def test_clipping_and_quantising_are_numpys():
    scan = jnp.asarray(HEAD)
    expected = np.clip(HEAD, *np.percentile(HEAD, [2, 95]))
    np.testing.assert_allclose(pipeline.clip(scan, 2, 95), expected, atol=1e-5)
    found = np.asarray(pipeline.quantise(scan - 0.5, 20)) + 0.5
    step = np.ptp(HEAD) / 20
    np.testing.assert_allclose(found, np.rint((HEAD - HEAD.min()) / step) * step, atol=1.0 * step)
    assert len(np.unique(np.rint((found - found.min()) / step))) <= 21
    assert np.abs(found - HEAD).max() <= 0.51 * step


@pytest.mark.parametrize("seed", range(8))
def test_what_is_moved_stays_where_it_is_in_the_world(seed):
    size = np.array([1.0, 1.2, 1.5])
    x, y, z = (np.arange(n) - n / 2 for n in (32, 30, 28))
    blob = np.exp(-((x[:, None, None] - 3) ** 2 + (y[:, None] + 4) ** 2 + (z - 2) ** 2) / 8)
    affine = np.diag([*size, 1.0])
    moved, to_old = pipeline.random_move(
        np.random.default_rng(seed), jnp.asarray(blob, jnp.float32), size
    )
    place = lambda image, affine: affine @ [*ndimage.center_of_mass(np.abs(image)), 1.0]  # noqa: E731
    np.testing.assert_allclose(place(moved, affine @ to_old), place(blob, affine), atol=0.05)


def test_random_scales_keep_the_order_of_intensities():
    for seed in range(6):
        found = np.asarray(pipeline.random_scale(np.random.default_rng(seed), jnp.asarray(HEAD)))
        assert np.all(np.diff(found.ravel()[np.argsort(HEAD.ravel())]) >= -1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda scan: pipeline.shift(scan, (0.3, 0.2, 0.1), "cubic"),
        lambda scan: pipeline.shift(scan, (0.3, 0.2, 0.1), "sinc"),
        lambda scan: pipeline.tilt(scan, (1.0, 2.0, 3.0)),
        lambda scan: pipeline.conform(scan, (1.2, 0.8, 2.0)),
        lambda scan: pipeline.clip(pipeline.standardise(scan)),
        lambda scan: pipeline.quantise(scan, 50),
    ],
)
def test_numbers_are_the_same_under_jit(function):
    scan = jnp.asarray(HEAD)
    np.testing.assert_allclose(jax.jit(function)(scan), function(scan), atol=1e-5)


def test_unknown_interpolation_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match="'nearest' is no interpolation; take linear or cubic"):
        pipeline.shift(jnp.asarray(HEAD), (0.1, 0, 0), "nearest")
    with pytest.raises(ConfigError, match="'cubic' is no interpolation; take linear or sinc"):
        pipeline.tilt(jnp.asarray(HEAD), (0.1, 0, 0), method="cubic")
