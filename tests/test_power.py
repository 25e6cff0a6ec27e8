"""The power of k-space against numpy."""

import numpy as np
import pytest

from qc_jax.power import hann, power_of

IMAGE = np.random.default_rng(0).random((9, 8, 7)).astype(np.float32)


def test_the_whole_is_that_of_numpy():
    k_space = np.fft.rfftn(IMAGE - IMAGE.mean())
    found = power_of(IMAGE)
    np.testing.assert_allclose(
        found.unit**2 * found.whole, np.abs(k_space) ** 2 / IMAGE.size, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_those_of_numpy_under_a_taper(axis):
    found = power_of(IMAGE)
    for place, power in enumerate(found.slices[axis]):
        tapered = np.take(IMAGE, place, axis)
        tapered = tapered * hann(tapered.shape)
        expected = np.abs(np.fft.rfft2(tapered)) ** 2 / np.square(hann(tapered.shape)).sum()
        np.testing.assert_allclose(found.unit**2 * power, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_any_unit_is_as_good_as_another(scale):
    found = power_of(np.float32(scale) * IMAGE)
    np.testing.assert_allclose(found.whole, power_of(IMAGE).whole, rtol=1e-4, atol=1e-7)
    assert found.unit == pytest.approx(scale * IMAGE.max(), rel=1e-6)


def test_nothing_has_no_power():
    found = power_of(np.zeros((4, 5, 6)))
    assert not found.whole.any() and not any(slices.any() for slices in found.slices)
