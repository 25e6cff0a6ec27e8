"""Artefacts together: order, rates, what was applied, and a source of one's own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qc_jax import augment
from qc_jax.augment import SOURCES, Source

KEY = jax.random.key(0)


def image_of(shape=(12, 10, 9)):
    return augment.rescale(jax.random.uniform(jax.random.key(9), shape))


def test_nothing_applied_is_the_identity():
    none = jnp.asarray([source.none for source in SOURCES])
    found = augment.apply_sources(KEY, image_of(), SOURCES, none)
    np.testing.assert_allclose(found, image_of(), atol=1e-5)


def test_order_is_that_of_the_sources():
    """Noise before the low-pass leaves the removed lines empty, after it fills them."""
    image, severities = image_of((16, 16, 16)), jnp.asarray([0.0, 4.0])
    noise, blur = SOURCES[1], SOURCES[2]
    first = augment.apply_sources(KEY, image, (noise, blur), severities)
    second = augment.apply_sources(KEY, image, (blur, noise), severities[::-1])
    assert float(jnp.abs(first - second).max()) > 0.05


def test_rate_is_the_share_of_images_with_any_artefact():
    keys = jax.random.split(KEY, 2000)
    for sources in (SOURCES[:1], SOURCES):
        drawn = jax.vmap(lambda k, s=sources: augment.draw_severities(k, s, 0.5))(keys)
        none = np.array([source.none for source in sources])
        assert np.any(drawn != none, axis=1).mean() == pytest.approx(0.5, abs=0.04)
        for column, source in zip(drawn.T, sources, strict=True):
            applied = column[column != source.none]
            low, high = sorted((source.mild, source.severe))
            assert low <= applied.min() and applied.max() <= high
            middle = (source.mild + source.severe) / 2
            assert applied.mean() == pytest.approx(middle, abs=0.1 * (high - low))


def test_an_artefact_alone_is_the_one_of_the_mixture():
    """Same key: noise by itself draws the very numbers that it draws beside the others."""
    severities = jnp.asarray([source.severity(0.8) for source in SOURCES])
    none = jnp.asarray([source.none for source in SOURCES])
    image = image_of()
    for i, source in enumerate(SOURCES):
        alone = none.at[i].set(severities[i])
        among = augment.apply_sources(KEY, image, SOURCES, alone)
        by_itself = augment.apply_sources(KEY, image, (source,), severities[i : i + 1])
        np.testing.assert_allclose(among, by_itself, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_empty_and_constant_images_stay_finite(value):
    image = jnp.full((9, 8, 7), value)
    for fraction in (0.0, 1.0):
        severities = jnp.asarray([source.severity(fraction) for source in SOURCES])
        out = augment.apply_sources(KEY, image, SOURCES, severities)
        chex.assert_tree_all_finite(out)
        assert float(out.min()) >= 0 and float(out.max()) <= 1


def test_same_key_same_image_and_jit_agrees():
    run = lambda key: augment.compose(key, image_of(), SOURCES, 0.9)  # noqa: E731
    chex.assert_trees_all_equal(run(KEY), run(KEY))
    chex.assert_trees_all_close(run(KEY), jax.jit(run)(KEY), atol=1e-4)


def test_a_source_of_ones_own_takes_ten_lines():
    def ghost(key, k_space, severity):
        axis = jax.random.randint(key, (), 0, 3)
        return augment.filter_lines(k_space, axis, lambda n: 1.0 - severity * (n % 2 == 1))

    ghosting = Source("ghosting", ghost, 0.1, 0.9, 0.0, "modulation of every other line")
    point = jnp.zeros((16, 16, 16)).at[3, 4, 5].set(1.0)
    out = augment.apply_sources(
        KEY, point, (ghosting, *SOURCES), jnp.asarray([0.5, *(source.none for source in SOURCES)])
    )
    ghosts = np.argwhere(np.asarray(out) > 0.2)
    assert len(ghosts) == 2 and np.abs(ghosts[0] - ghosts[1]).max() == 8


def test_sources_that_are_not_allowed_do_not_appear():
    sources = SOURCES[1:3]
    keys = jax.random.split(jax.random.key(0), 200)
    allowed = jnp.asarray([False, True])
    drawn = jax.vmap(lambda k: augment.draw_severities(k, sources, 0.7, allowed))(keys)
    alone = jax.vmap(lambda k: augment.draw_severities(k, sources[1:], 0.7))(keys)
    np.testing.assert_array_equal(drawn[:, 0], sources[0].none)
    np.testing.assert_array_equal(drawn[:, 1], alone[:, 0])
