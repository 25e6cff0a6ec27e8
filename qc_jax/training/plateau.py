"""Learning rate and epsilon halve together when the loss stops falling (section 5).

The rule is `optax.contrib.reduce_on_plateau`.  The one number `scale` of its state drives both:
learning rate = base * scale, epsilon = first epsilon * scale.
"""

import jax
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


def epsilon(config: PlateauConfig, state: contrib.ReduceLROnPlateauState) -> jax.Array:
    """The epsilon of Eq. 4 that belongs to a state of the rule."""
    return config.epsilon * state.scale
