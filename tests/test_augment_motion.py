"""Motion against scipy's rotation and numpy's shift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from qc_jax import augment
from qc_jax.augment import motion, spatial

SHAPE = (16, 18, 14)


def head():
    noise = np.random.default_rng(0).normal(size=SHAPE)
    window = np.zeros(SHAPE)
    window[4:12, 4:14, 4:10] = 1.0
    return jnp.asarray(ndimage.gaussian_filter(noise, 1.0) * window, jnp.float32)


def test_shift_by_whole_voxels_is_numpys_roll():
    shift = jnp.asarray([2 / 16, -3 / 18, 1 / 14])
    moved = motion.move(augment.to_k_space(head()), jnp.zeros(3), shift)
    expected = np.roll(head(), (2, -3, 1), (0, 1, 2))
    np.testing.assert_allclose(np.fft.ifftn(moved).real, expected, atol=1e-6)


def test_rotation_is_scipys_splines_and_loses_nothing():
    image = ndimage.gaussian_filter(np.pad(head(), 8), 1.5)
    degrees = jnp.asarray([10.0, -5.0, 20.0])
    found = motion.rotate(jnp.asarray(image), degrees)
    inverse = np.asarray(spatial.rotation_matrix(degrees)).T
    centre = (np.asarray(image.shape) - 1) / 2
    turn = lambda order: ndimage.affine_transform(  # noqa: E731
        image, inverse, centre - inverse @ centre, order=order
    )
    np.testing.assert_allclose(found, turn(5), atol=2e-3 * image.max())
    energy = lambda x: float(np.sum(np.square(x)) / np.sum(np.square(image)))  # noqa: E731
    assert energy(found) == pytest.approx(1.0, abs=1e-4) and energy(turn(1)) < 0.97


def test_move_rotates_and_then_shifts():
    degrees, shift = jnp.asarray([3.0, -5.0, 8.0]), jnp.asarray([1 / 16, 0.0, 0.0])
    moved = motion.move(augment.to_k_space(head()), degrees, shift)
    expected = np.roll(motion.rotate(head(), degrees), 1, axis=0)
    np.testing.assert_allclose(np.fft.ifftn(moved).real, expected, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("start", [0.3, -0.6])
def test_lines_beyond_the_event_are_those_of_the_moved_head(axis, start):
    rest, moved = jnp.zeros(SHAPE, complex), jnp.ones(SHAPE, complex)
    found = np.asarray(motion.replace_lines(rest, moved, axis, start)).real
    time = np.fft.fftfreq(SHAPE[axis]) * 2
    expected = time > start if start > 0 else time < start
    np.testing.assert_array_equal(
        np.moveaxis(found, axis, -1), np.broadcast_to(expected, np.moveaxis(found, axis, -1).shape)
    )


def test_source_keeps_the_centre_of_k_space():
    k_space = augment.to_k_space(head())
    for seed in range(4):
        spoilt = jax.jit(augment.MOTION.apply)(jax.random.key(seed), k_space, 8.0)
        assert spoilt[0, 0, 0] == k_space[0, 0, 0]
        assert not np.allclose(spoilt, k_space, atol=0.1)


def test_source_is_the_identity_at_none():
    k_space = augment.to_k_space(head())
    unchanged = augment.MOTION.apply(jax.random.key(1), k_space, jnp.asarray(0.0))
    np.testing.assert_allclose(unchanged, k_space, atol=1e-4)


def test_the_further_the_head_moves_the_further_from_the_image():
    image = jnp.abs(head())
    distances = []
    for fraction in (0.0, 0.5, 1.0):
        severity = jnp.asarray([augment.MOTION.severity(fraction)])
        out = [
            augment.apply_sources(jax.random.key(i), image, (augment.MOTION,), severity)
            for i in range(6)
        ]
        distances.append(np.mean([1 - np.corrcoef(image.ravel(), o.ravel())[0, 1] for o in out]))
    assert distances[0] < distances[1] < distances[2]
