"""Rotation, scaling, flips and bias field against scipy and numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from qc_jax import augment
from qc_jax.augment import spatial
from qc_jax.augment.intensity import NUM_COEFFICIENTS


def volume(shape=(10, 12, 9)):
    rng = np.random.default_rng(0)
    return rng.uniform(size=shape).astype(np.float32), rng.integers(0, 2, shape)


def test_rotation_matrix_against_scipy():
    degrees = np.array([10.0, -25.0, 40.0])
    expected = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    np.testing.assert_allclose(spatial.rotation_matrix(degrees), expected, atol=1e-6)


def test_transform_against_scipy():
    image, labels = volume()
    degrees, scale = np.array([10.0, -20.0, 30.0]), 1.2
    inverse = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix().T / scale
    centre = (np.array(image.shape) - 1) / 2
    expected = ndimage.affine_transform(image, inverse, centre - inverse @ centre, order=1)
    moved, moved_labels = augment.transform(image, labels, degrees, scale)
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-4)
    assert set(np.unique(moved_labels)) <= {0, 1} and moved_labels.dtype == jnp.int32


def test_transform_by_nothing_is_the_identity():
    image, labels = volume()
    moved, moved_labels = augment.transform(image, labels, np.zeros(3), 1.0)
    np.testing.assert_allclose(moved, image, atol=1e-5)
    np.testing.assert_array_equal(moved_labels, labels)


def test_flip_against_numpy():
    image, labels = volume()
    for flipped in itertools.product([False, True], repeat=3):
        axes = tuple(np.flatnonzero(flipped))
        found, found_labels = augment.flip(image, labels, jnp.asarray(flipped))
        np.testing.assert_array_equal(found, np.flip(image, axes))
        np.testing.assert_array_equal(found_labels, np.flip(labels, axes))


def test_random_forms_keep_image_and_labels_together():
    image, _ = volume()
    labels = (image > 0.5).astype(int)
    flipped, flipped_labels = augment.random_flip(jax.random.key(3), image, labels)
    np.testing.assert_array_equal(flipped > 0.5, flipped_labels == 1)
    moved, _ = augment.random_transform(jax.random.key(0), image, labels, 10.0, 0.1)
    assert not np.allclose(moved, image, atol=0.05)


def test_bias_field_against_numpy():
    image, _ = volume()
    coefficients = np.random.default_rng(1).normal(0, 0.2, NUM_COEFFICIENTS)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij")
    powers = [p for p in itertools.product(range(4), repeat=3) if 0 < sum(p) <= 3]
    exponent = sum(
        c * x**a * y**b * z**d for c, (a, b, d) in zip(coefficients, powers, strict=True)
    )
    expected = image * np.exp(exponent)
    found = augment.apply_bias_field(image, coefficients)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)


def test_bias_field_of_amount_zero_is_the_identity():
    image = augment.rescale(jnp.asarray(volume()[0]))
    np.testing.assert_allclose(augment.bias_field(jax.random.key(0), image, 0.0), image, atol=1e-6)
