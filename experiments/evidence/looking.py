"""What the evidence reads from a simulated scan and its maps, besides what every trial keeps."""

import numpy as np
import polars as pl
from scipy import ndimage

from experiments.evidence import iqms
from experiments.trials import Row, Version, table
from qc_jax import data
from qc_jax.augment.tissues import TISSUES
from qc_jax.models import Model
from qc_jax.scoring.calibration import interpret
from qc_jax.scoring.scan import Measurement
from qc_jax.scoring.scores import source_scores


def look(
    names: tuple[str, ...], subject: data.Subject, version: Version, found: Measurement
) -> dict[str, float]:
    """As `look_at_maps`; and SNR, CNR and EFC, see `iqms`, where the true tissues are known.

    Args:
      names: of the channels, the task first.
      subject, version, found: see `trials.simulated`.
    """
    grey, white, air = tissues_of(subject)
    return look_at_maps(names, subject.labels == 1, version, found) | {
        "snr": iqms.snr(version.image, white),
        "cnr": iqms.cnr(version.image, grey, white, air),
        "efc": iqms.efc(version.image),
    }


def look_at_maps(
    names: tuple[str, ...], grey_matter: np.ndarray, version: Version, found: Measurement
) -> dict[str, float]:
    """By name: mean over the head of the softmax's entropy, plain and scaled by the variance; and
    `border NAME`, the score of each channel within 2 voxels of the true border of grey matter.

    Args:
      names: of the channels, the task first.
      grey_matter: `(X, Y, Z)` bool, the truth.
      version, found: see `trials.rows_of`.
    """
    variances, inside = found.prediction.variances, version.conformed.mask
    probability = found.prediction.probabilities
    entropy = -np.sum(probability * np.log(np.maximum(probability, 1e-12)), axis=-1)
    near = _border(grey_matter) & (variances.sum(axis=-1) > 0)
    border = source_scores(variances, near).tolist()
    return {
        "softmax_entropy": float(found.prediction.softmax_entropy[inside].mean()),
        "entropy": float(entropy[inside].mean()),
    } | {f"border {name}": score for name, score in zip(names, border, strict=True)}


def interpreted(rows: list[Row], model: Model) -> pl.DataFrame:
    """`trials.table`, with what the calibration of the model says of each row, whenever the row was
    scored: `predicted_dice`, the likeliest `cause`, whether it is named by the scores alone
    (`cause_named`), and `percentile NAME` within the clean reference scans."""
    names = ("task", *model.description.sources)
    meanings = [
        interpret(
            np.array(row.scores), np.array(row.local_scores), row.expected_dice, model.calibration
        )
        for row in rows
    ]
    said = pl.DataFrame(
        [
            {
                "predicted_dice": meaning.predicted_dice,
                "cause": next(iter(meaning.causes)),
                "cause_named": meaning.cause_named,
            }
            | {f"percentile {name}": at for name, at in meaning.percentiles.items()}
            for meaning in meanings
        ]
    )
    return pl.concat([table(rows, names), said], how="horizontal")


def tissues_of(subject: data.Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of grey matter, white matter and air, where each is as pure as it gets."""
    assert subject.fractions is not None, f"{subject.name} has no fractions of tissues"
    names = ("grey_matter", "white_matter", "air")
    fractions = [subject.fractions[..., TISSUES.index(name)] for name in names]
    grey, white, air = (fraction >= 0.9 * fraction.max() for fraction in fractions)
    return grey, white, air


def _border(mask: np.ndarray) -> np.ndarray:
    """Voxels within two of the surface of a mask."""
    return ndimage.binary_dilation(mask, iterations=2) & ~ndimage.binary_erosion(mask, iterations=2)
