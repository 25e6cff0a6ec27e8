"""Scoring: from a scan to maps, scores and words; whole studies, records and reports."""

from qc_jax.scoring.calibration import Interpretation
from qc_jax.scoring.scan import ScanScore, score
from qc_jax.scoring.scores import dice, expected_dice, head_mask, source_scores
from qc_jax.scoring.sliding import Prediction, predict

__all__ = [
    "Interpretation",
    "Prediction",
    "ScanScore",
    "dice",
    "expected_dice",
    "head_mask",
    "predict",
    "score",
    "source_scores",
]
