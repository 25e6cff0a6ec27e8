"""Ghosting against Bessel's functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from qc_jax import augment
from qc_jax.augment import ghosting


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("amplitude", [0.2, 0.8, 1.5])
def test_ghosts_have_bessel_intensities_at_their_distance(axis, amplitude):
    shape = [4, 4, 4]
    shape[axis] = 48
    point = jnp.zeros(shape).at[1, 1, 1].set(1.0)
    spoilt = ghosting.modulate_lines(augment.to_k_space(point), axis, amplitude, 8.0, 0.3)
    line = np.moveaxis(np.asarray(augment.to_image(spoilt)), axis, 0)[:, 1, 1]
    for order in (0, 1, 2, -1, -2):
        expected = abs(special.jv(order, amplitude))
        assert line[(1 + 6 * order) % 48] == pytest.approx(expected, abs=5e-3)
    others = np.delete(line, (1 + 6 * np.arange(8)) % 48)
    assert others.max() < 1e-5


def test_source_is_the_identity_at_none_and_differs_with_the_key():
    image = jax.random.uniform(jax.random.key(0), (12, 10, 9))
    k_space = augment.to_k_space(image)
    source = augment.GHOSTING
    unchanged = source.apply(jax.random.key(1), k_space, jnp.asarray(source.none))
    np.testing.assert_allclose(unchanged, k_space, atol=1e-4)
    first, second = (jax.jit(source.apply)(jax.random.key(i), k_space, 1.0) for i in range(2))
    assert not np.allclose(first, second, atol=1e-2)
