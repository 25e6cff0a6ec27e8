"""Training: what a stage sees and minimises, one sharded step, the plateau rule, checkpoints."""

from qc_jax.configs import PlateauConfig, SampleConfig
from qc_jax.training.distillation import Frozen, stage_loss, start_from
from qc_jax.training.samples import Sample, View, make_sample, make_scan
from qc_jax.training.step import (
    TrainState,
    data_mesh,
    init_state,
    replicated,
    sharded,
    train_step,
)

__all__ = [
    "Frozen",
    "PlateauConfig",
    "Sample",
    "SampleConfig",
    "TrainState",
    "View",
    "data_mesh",
    "init_state",
    "make_sample",
    "make_scan",
    "replicated",
    "sharded",
    "stage_loss",
    "start_from",
    "train_step",
]
