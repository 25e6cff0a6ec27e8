"""Has a network learnt its source?  Scores of corrupted against clean validation scans.

Each validation subject is scanned several times, every time with another contrast, clean and with
an artefact at a severity of its own; severities are stratified over the whole range.  A scan's
score for a source is the mean of that variance over the head mask of the clean scan.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy import stats
from sklearn import metrics

from experiments.presets import Config
from qc_jax import augment, data, scoring
from qc_jax.augment import Source
from qc_jax.network import UNet


@dataclasses.dataclass(frozen=True)
class Scored:
    """One scan through one network.

    Attributes:
      subject: its name.
      artefact: what was put in, or None for the clean scan.
      fraction: of the way from mild to severe.
      scores: `(1 + N,)` mean variances over the head mask, the task first.
      dice: of the grey-matter segmentation.
    """

    subject: str
    artefact: str | None
    fraction: float
    scores: np.ndarray
    dice: float


def score_scans(
    config: Config,
    network: UNet,
    params: Any,
    subjects: Sequence[data.Subject],
    artefacts: Sequence[Source],
) -> list[Scored]:
    """Scores every subject clean and with each artefact, `config.evaluation_draws` times each."""
    scored = []
    draws = config.evaluation_draws
    for draw in range(draws):
        scans = data.clean_scans(subjects, config.seed + 1000 * (draw + 1))
        for index, (name, clean, labels) in enumerate(scans):
            mask = scoring.head_mask(clean)
            rng = np.random.default_rng([config.seed, draw, index])

            def add(image, artefact, fraction, name=name, labels=labels, mask=mask):
                prediction = scoring.predict(
                    network, params, image, config.patch, config.overlap, mask=mask
                )
                dice = scoring.dice(prediction.segmentation == 1, labels == 1)
                scores = scoring.source_scores(prediction.variances, mask)
                scored.append(Scored(name, artefact, fraction, scores, dice))

            add(clean, None, 0.0)
            for source in artefacts:
                fraction = (draw + rng.uniform()) / draws
                key = jax.random.fold_in(jax.random.key(config.seed), draw * len(subjects) + index)
                add(np.asarray(corrupt(key, clean, source, fraction)), source.name, fraction)
    return scored


@functools.partial(jax.jit, static_argnums=2)
def corrupt(key: jax.Array, image: jax.Array, source: Source, fraction: float) -> jax.Array:
    """`(X, Y, Z)` with one artefact at `fraction` of the way from mild to severe."""
    severity = jax.numpy.asarray(source.severity(fraction))[None]
    return augment.apply_sources(key, image, (source,), severity)


def auc(scored: Sequence[Scored], artefact: str, channel: int) -> float:
    """Area under the ROC curve of one variance: scans with the artefact in the upper half of its
    severities against clean ones.  0.5 where the variance does not react."""
    clean = [s.scores[channel] for s in scored if s.artefact is None]
    bad = [s.scores[channel] for s in scored if s.artefact == artefact and s.fraction >= 0.5]
    truth = [0] * len(clean) + [1] * len(bad)
    return float(metrics.roc_auc_score(truth, clean + bad))


def severity_spearman(scored: Sequence[Scored], artefact: str, channel: int) -> float:
    """Rank correlation of a variance with the severity over its whole range."""
    chosen = [s for s in scored if s.artefact == artefact]
    result = stats.spearmanr([s.fraction for s in chosen], [s.scores[channel] for s in chosen])
    return float(result.statistic)


def mean_dice(scored: Sequence[Scored], artefact: str | None = None) -> float:
    """Mean Dice of the scans with an artefact, or of the clean ones."""
    return float(np.mean([s.dice for s in scored if s.artefact == artefact]))
