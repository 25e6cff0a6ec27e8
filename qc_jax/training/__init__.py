"""Training: what each stage learns, one sharded step for all, the plateau rule, checkpoints."""

from qc_jax.configs import PlateauConfig, SampleConfig
from qc_jax.training.stages import Frozen, LossConfig, Sample, make_sample, stage_loss
from qc_jax.training.step import (
    TrainState,
    Turn,
    data_mesh,
    init_state,
    make_train_step,
    replicated,
    sharded,
)

__all__ = [
    "Frozen",
    "LossConfig",
    "PlateauConfig",
    "Sample",
    "SampleConfig",
    "TrainState",
    "Turn",
    "data_mesh",
    "init_state",
    "make_sample",
    "make_train_step",
    "replicated",
    "sharded",
    "stage_loss",
]
