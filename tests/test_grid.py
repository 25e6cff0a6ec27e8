"""Interpolation on other grids."""

import numpy as np
import pytest
from scipy import ndimage

from qc_jax.data import grid


@pytest.mark.parametrize("steps", [(0.5, 0.4, 0.55), (-0.5, 1.0, 2.5), (1e-3 + 0.5, 0.3, 0.7)])
@pytest.mark.parametrize("tilt", [0.0, 0.05])
def test_interpolation_is_that_of_scipy(steps, tilt):
    """Along parallel axes, reversed ones too, and across; 0 outside."""
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(9, 8, 7))
    to_volume = np.eye(4)
    to_volume[:3, :3] = np.diag(steps)
    to_volume[0, 1] = tilt
    to_volume[:3, 3] = (8 if steps[0] < 0 else -0.4), -0.3, 0.6
    shape = (17, 19, 11)
    expected = ndimage.affine_transform(
        volume, to_volume[:3, :3], to_volume[:3, 3], shape, np.float32, order=1
    )
    found = grid.interpolate(volume, to_volume, shape)
    assert found.dtype == np.float32 and (found == 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_interpolation_of_one_slice():
    volume = np.ones((4, 4, 1), np.float32)
    found = grid.interpolate(volume, np.diag([0.5, 0.5, 0.5, 1.0]), (8, 8, 2))
    assert found[:7, :7, 0].min() == 1 and found[..., 1].max() == 0
