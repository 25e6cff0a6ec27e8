"""Has a network learnt its source?  Scores of corrupted against clean scans whose truth is known.

Each subject is scanned several times, every time with another contrast, clean and with an artefact
at a severity of its own; severities are stratified over the whole range.  Every scan goes the way
of a real one: its own head mask, its own intensities.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from sklearn import metrics

from qc_jax import augment, data, scoring
from qc_jax.augment import Source
from qc_jax.data import names
from qc_jax.models import Model
from qc_jax.scoring.calibration import MIXED, KnownScan, rank_correlation
from qc_jax.scoring.scan import OVERLAP, Measurement, measure, on_grid


def score_scans(
    model: Model,
    subjects: Sequence[data.Subject],
    artefacts: Sequence[Source],
    draws: int,
    seed: int,
    overlap: float = OVERLAP,
    advance: Callable[[], None] = lambda: None,
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
    for name, labels, clean, bad in scans(subjects, artefacts, draws, seed):
        # A calibration is judged on other people, not on other scans of the same ones.
        person = names.person_of(name)
        first = measure(model, on_grid(clean, voxel_size), overlap)
        scored.append(known_scan(person, None, 0.0, first, first, labels))
        advance()
        for artefact, fraction, image in bad:
            found = measure(model, on_grid(image, voxel_size), overlap)
            scored.append(known_scan(person, artefact, fraction, found, first, labels))
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
    # Not imported with the module: training draws a progress of its own.
    from rich.console import Console
    from rich.progress import track

    number = len(subjects) * draws * scans_of_a_draw(artefacts)
    line = track(range(number), "scans", console=Console(stderr=True), transient=True)
    steps = iter(line)
    return score_scans(model, subjects, artefacts, draws, seed, advance=lambda: next(steps))


def scans(
    subjects: Sequence[data.Subject], artefacts: Sequence[Source], draws: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, Iterator[tuple[str, float, np.ndarray]]]]:
    """Name, labels, the clean image, and the bad ones: artefact, fraction, image."""
    for draw in range(draws):
        for index, (name, clean, labels) in enumerate(
            data.clean_scans(subjects, seed + 1000 * (draw + 1))
        ):
            key = jax.random.fold_in(jax.random.key(seed), draw * len(subjects) + index)
            rng = np.random.default_rng([seed, draw, index])
            yield name, labels, clean, _bad_scans(key, rng, clean, artefacts, draw, draws)


def scans_of_a_draw(artefacts: Sequence[Source]) -> int:
    """How many scans `score_scans` scores for each subject and draw."""
    return 1 + len(artefacts) + (len(artefacts) > 1)


def _bad_scans(key, rng, clean, artefacts, draw, draws) -> Iterator[tuple[str, float, np.ndarray]]:
    yield from with_each(key, rng, clean, artefacts, draw, draws)
    if len(artefacts) > 1:
        inside, image = mixture(key, rng, clean, artefacts)
        yield MIXED, max(inside.values(), default=0.0), image


def with_each(
    key: jax.Array,
    rng: np.random.Generator,
    clean: np.ndarray,
    artefacts: Sequence[Source],
    draw: int,
    draws: int,
) -> Iterator[tuple[str, float, np.ndarray]]:
    """The scan with each artefact alone: name, fraction, image.

    The severities of an artefact are stratified over the draws, but not alike for all of them in
    one draw.
    """
    for i, source in enumerate(artefacts):
        fraction = ((draw + i) % draws + rng.uniform()) / draws
        yield source.name, fraction, np.asarray(augment.corrupt(key, clean, source, fraction))


def mixture(
    key: jax.Array, rng: np.random.Generator, clean: np.ndarray, artefacts: Sequence[Source]
) -> tuple[dict[str, float], np.ndarray]:
    """A scan that holds each artefact with probability one half: fractions by name, and image."""
    present = rng.random(len(artefacts)) < 0.5
    fractions = rng.random(len(artefacts))
    severities = [
        s.severity(f) if p else s.none
        for s, f, p in zip(artefacts, fractions, present, strict=True)
    ]
    image = augment.apply_sources(key, clean, artefacts, jax.numpy.asarray(severities))
    inside = {s.name: f for s, f, p in zip(artefacts, fractions, present, strict=True) if p}
    return inside, np.asarray(image)


def known_scan(
    name: str,
    artefact: str | None,
    fraction: float,
    found: Measurement,
    clean: Measurement,
    labels: np.ndarray,
) -> KnownScan:
    """What was found beside what is true."""
    return KnownScan(
        subject=name,
        artefact=artefact,
        fraction=fraction,
        scores=found.scores,
        local_scores=found.local_scores,
        expected_dice=found.expected_dice,
        dice=scoring.dice(found.grey_matter, labels == 1),
        kept=scoring.dice(found.grey_matter, clean.grey_matter),
        volume=found.volume,
        clean_volume=clean.volume,
        volume_uncertainty=found.volume_uncertainty,
    )


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
