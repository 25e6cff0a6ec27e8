"""Has a network learnt its source?  Scores of corrupted against clean scans whose truth is known.

Each subject is scanned several times, every time with another contrast, clean and with an artefact
at a severity of its own; severities are stratified over the whole range.  Every scan goes the way
of a real one: its own head mask, its own intensities.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn import metrics

from experiments import trials
from qc_jax import data
from qc_jax.augment import Source
from qc_jax.data import names
from qc_jax.models import Model
from qc_jax.scoring.calibration import KnownScan, rank_correlation
from qc_jax.scoring.scan import OVERLAP


def score_scans(
    model: Model,
    subjects: Sequence[data.Subject],
    artefacts: Sequence[Source],
    draws: int,
    seed: int,
    overlap: float = OVERLAP,
    advance: Callable[[], object] = lambda: None,
) -> list[KnownScan]:
    """Scores every subject clean, with each artefact and with several, `draws` times each.

    Args:
      model: to score with.
      subjects: of whom the truth is known.
      artefacts: to put in, one at a time.
      draws: contrasts of each subject.
      seed: of everything random.
      overlap: of the patches; a calibration needs that of the scoring, the default.
      advance: called after each scan.
    """
    voxel_size = model.description.voxel_size
    scored = []
    for draw in range(draws):
        clean_scans = data.clean_scans(subjects, seed + 1000 * (draw + 1))
        for index, (name, clean, labels) in enumerate(clean_scans):
            key = jax.random.fold_in(jax.random.key(seed), draw * len(subjects) + index)
            rng = np.random.default_rng([seed, draw, index])
            versions = trials.simulated_versions(
                key, rng, clean, artefacts, draw, draws, voxel_size
            )
            # A calibration is judged on other people, not on other scans of the same ones.
            person = names.person_of(name)
            for row in trials.rows_of(model, person, draw, versions, labels == 1, overlap=overlap):
                scored.append(trials.known_scan(row))
                advance()
    return scored


def score_with_progress(
    model: Model,
    subjects: Sequence[data.Subject],
    artefacts: Sequence[Source],
    draws: int,
    seed: int,
) -> list[KnownScan]:
    """`score_scans` with a line that says how many of the scans are done."""
    number = len(subjects) * draws * trials.number_of_versions(artefacts)
    line = track(range(number), "scans", console=Console(stderr=True), transient=True)
    steps = iter(line)
    return score_scans(model, subjects, artefacts, draws, seed, advance=lambda: next(steps))


def auc(scored: Sequence[KnownScan], artefact: str, channel: int) -> float:
    """Area under the ROC curve of one variance: scans with the artefact in the upper half of its
    severities against clean ones.  0.5 where the variance does not react."""
    clean = [s.scores[channel] for s in scored if s.artefact is None]
    bad = [s.scores[channel] for s in scored if s.artefact == artefact and s.fraction >= 0.5]
    truth = [0] * len(clean) + [1] * len(bad)
    return float(metrics.roc_auc_score(truth, clean + bad))


def severity_spearman(scored: Sequence[KnownScan], artefact: str, channel: int) -> float:
    """Rank correlation of a variance with the severity over its whole range."""
    chosen = [s for s in scored if s.artefact == artefact]
    return rank_correlation([s.fraction for s in chosen], [s.scores[channel] for s in chosen])


def mean_dice(scored: Sequence[KnownScan], artefact: str | None = None) -> float:
    """Mean Dice of the scans with an artefact, or of the clean ones."""
    return float(np.mean([s.dice for s in scored if s.artefact == artefact]))
