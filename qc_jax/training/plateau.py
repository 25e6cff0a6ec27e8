"""Learning rate and epsilon halve together when the loss stops falling (section 5).

The rule is `optax.contrib.reduce_on_plateau`.  The one number `scale` of its state drives both:
learning rate = base * scale, epsilon = first epsilon * scale.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from qc_jax.configs import PlateauConfig


def plateau_rule(config: PlateauConfig) -> optax.GradientTransformationExtraArgs:
    """Scales updates by the state's `scale`; `update` takes the loss as `value`."""
    halvings = 0
    while config.epsilon * 0.5**halvings >= config.smallest_epsilon:
        halvings += 1
    return contrib.reduce_on_plateau(
        factor=0.5,
        patience=config.patience,
        rtol=config.threshold,
        accumulation_size=config.window,
        min_scale=0.5**halvings,
    )


def adam(learning_rate: float, config: PlateauConfig) -> optax.GradientTransformationExtraArgs:
    """Adam under the plateau rule; `update` takes the loss as `value`.

    A loss or a gradient that is not finite changes nothing: the state's `notfinite_count` says of
    how many steps in a row.  The rate is a number of the state, see `with_learning_rate`.
    """
    rate = optax.inject_hyperparams(optax.scale_by_learning_rate)(learning_rate)
    steps = optax.chain(optax.scale_by_adam(), rate, plateau_rule(config))
    guarded = optax.apply_if_finite(steps, max_consecutive_errors=2**31 - 1)

    def update(gradient, state, params=None, *, value, **others):
        # The guard looks at the gradient alone.
        marked = jax.tree.map(lambda g: jnp.where(jnp.isfinite(value), g, jnp.nan), gradient)
        return guarded.update(marked, state, params, value=value, **others)

    return optax.GradientTransformationExtraArgs(guarded.init, update)


def with_learning_rate(state: Any, learning_rate: float) -> Any:
    """A state that holds one of `adam`, at this rate from now on, before the plateau rule."""
    return optax.tree.set(state, learning_rate=np.float32(learning_rate))


def scale(state: Any) -> jax.Array:
    """What the rule has left of learning rate and epsilon, of a state that holds one of it."""
    return optax.tree.get(state, "ReduceLROnPlateauState").scale


def epsilon(config: PlateauConfig, state: Any) -> jax.Array:
    """The epsilon of Eq. 4 that belongs to a state that holds one of the rule."""
    return config.epsilon * scale(state)
