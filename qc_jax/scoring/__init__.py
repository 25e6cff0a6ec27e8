"""Scoring: whole volumes through a trained network, and what the maps say of a scan."""

from qc_jax.scoring.predict import Prediction, predict
from qc_jax.scoring.scores import dice, head_mask, source_scores

__all__ = ["Prediction", "dice", "head_mask", "predict", "source_scores"]
