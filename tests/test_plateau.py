"""Adam under the plateau rule, and what is not finite."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qc_jax import training
from qc_jax.training import plateau

OPTIMISER = plateau.adam(1e-2, training.PlateauConfig(window=2, patience=1))


def fresh():
    """Parameters of two layers."""
    return {"one": jnp.ones((3, 2)), "other": 2 * jnp.ones(4)}


def test_the_learning_rate_is_a_number_of_the_state():
    params = fresh()
    gradient = jax.tree.map(jnp.ones_like, params)
    for rate in (0.0, 0.5):
        state = plateau.with_learning_rate(OPTIMISER.init(params), rate)
        updates, _ = OPTIMISER.update(gradient, state, params, value=1.0)
        for update in jax.tree.leaves(updates):  # Adam's first step is its rate
            np.testing.assert_allclose(update, -rate, rtol=1e-4)


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted():
    params, state = fresh(), OPTIMISER.init(fresh())
    bad = jax.tree.map(lambda x: x.at[..., 0].set(jnp.nan), params)
    for count in (1, 2):
        before = state
        updates, state = OPTIMISER.update(bad, state, params, value=jnp.nan)
        assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(updates)) == 0
        assert int(state.notfinite_count) == count
        chex.assert_trees_all_equal(state.inner_state, before.inner_state)
    _, state = OPTIMISER.update(params, state, params, value=1.0)
    assert int(state.notfinite_count) == 0


def test_a_loss_that_is_not_finite_changes_nothing_though_its_gradient_is():
    params = {"x": np.ones(3, np.float32)}
    mesh = training.data_mesh(1)
    step = training.train_step(
        mesh,
        lambda key, scan, fixed: scan["image"],
        lambda params, samples, fixed, state: (jnp.sum(params["x"]) + jnp.sum(samples), {}),
        OPTIMISER,
    )
    batch = {"image": jnp.full((2, 1), jnp.inf), "index": jnp.arange(2)}
    before = training.init_state(jax.tree.map(jnp.array, params), OPTIMISER)
    before = jax.device_put(before, training.replicated(mesh))
    after, metrics = step(before, jax.random.key(0), batch, None)
    assert jnp.isinf(metrics["loss"]) and int(after.optimiser.notfinite_count) == 1
    chex.assert_trees_all_equal(after.params, params)


def test_learning_rate_and_epsilon_halve_together_on_a_plateau():
    config = training.PlateauConfig(window=3, patience=2, epsilon=0.05, smallest_epsilon=1e-3)
    rule = plateau.plateau_rule(config)
    update = {"w": jnp.ones(())}
    state, seen = rule.init(update), []
    update_rule = jax.jit(lambda state, loss: rule.update(update, state, value=loss))
    for step in range(200):
        scaled, state = update_rule(state, 1.0 - 0.1 * min(step, 10))
        seen.append(float(plateau.epsilon(config, state)))
        assert float(scaled["w"]) == pytest.approx(seen[-1] / 0.05)
    assert seen[9] == pytest.approx(0.05)  # no halving while the loss falls
    assert sorted(set(np.round(seen, 8)), reverse=True) == pytest.approx(
        [0.05 / 2**k for k in range(7)], rel=1e-4
    )
    assert seen[-1] < 1e-3 <= 2 * seen[-1]
