"""From scored scans to the figures of `evidence.json`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.evidence.intervals import auc, bootstrap, mean, spearman
from experiments.evidence.measurements import Row
from qc_jax.models import Model
from qc_jax.scoring.answer import CLEAN
from qc_jax.scoring.calibration import MIXED

MEASURES: dict[str, tuple[Callable[[Row], float], int]] = {
    "ours": (lambda row: row.expected_dice, -1),
    "predicted_dice": (lambda row: row.predicted_dice, -1),
    "total_variance": (lambda row: float(row.scores.sum()), 1),
    "scaled_entropy": (lambda row: row.entropy, 1),
    "softmax_entropy": (lambda row: row.softmax_entropy, 1),
    "snr": (lambda row: row.snr, -1),
    "cnr": (lambda row: row.cnr, -1),
    "efc": (lambda row: row.efc, 1),
}
"""What is compared with Dice, and its sign: 1 where more means worse."""


def decoupling(rows: Sequence[Row], names: Sequence[str], sources: Sequence[str]) -> dict[str, Any]:
    """AUC of each channel for each artefact: upper half of the severities against clean scans."""
    table = {}
    for artefact in sources:
        chosen = [*_clean(rows).values(), *_severe(rows, artefact)]
        subjects = [row.subject for row in chosen]
        bad = [row.artefact is not None for row in chosen]
        table[artefact] = {
            name: bootstrap(auc, subjects, bad, [row.scores[channel] for row in chosen])
            for channel, name in enumerate(names)
        }
    return table


def change(rows: Sequence[Row], names: Sequence[str], sources: Sequence[str]) -> dict[str, Any]:
    """How many times the clean score of the same subject and contrast each score is, geometric
    mean over the upper half of the severities: what AUC, which counts any shift, does not say."""
    clean = _clean(rows)
    table = {}
    for artefact in sources:
        chosen = _severe(rows, artefact)
        logs = np.log([row.scores / clean[row.subject, row.draw].scores for row in chosen])
        table[artefact] = {
            name: bootstrap(
                lambda x: float(np.exp(np.mean(x))), [row.subject for row in chosen], logs[:, i]
            )
            for i, name in enumerate(names)
        }
    return table


def detection(rows: Sequence[Row], sources: Sequence[str]) -> dict[str, Any]:
    """Share of scans whose score lies above 95 % of the model's clean reference scans, for each
    artefact (upper half of the severities) and clean scans, source by source."""
    table = {}
    for artefact in (CLEAN, *sources):
        chosen = _severe(rows, artefact) if artefact != CLEAN else list(_clean(rows).values())
        table[artefact] = {
            source: bootstrap(
                mean,
                [row.subject for row in chosen],
                [row.percentiles[source] > 95 for row in chosen],
            )
            for source in sources
        }
    return table


def cause(rows: Sequence[Row], sources: Sequence[str]) -> dict[str, Any]:
    """Share of scans whose likeliest cause is the artefact put in, at any severity."""
    found = {}
    for kind in ("all", CLEAN, *sources):
        chosen = [
            row for row in rows if row.artefact != MIXED and kind in ("all", row.artefact or CLEAN)
        ]
        found[kind] = bootstrap(
            mean,
            [row.subject for row in chosen],
            [row.cause == (row.artefact or CLEAN) for row in chosen],
        )
    return found


def severity(rows: Sequence[Row], sources: Sequence[str]) -> dict[str, Any]:
    """Rank correlation of each source's score with the severity put in."""
    found = {}
    for channel, source in enumerate(sources, 1):
        chosen = [row for row in rows if row.artefact == source]
        found[source] = bootstrap(
            spearman,
            [row.subject for row in chosen],
            [row.fractions[source] for row in chosen],
            [row.scores[channel] for row in chosen],
        )
    return found


def mixtures(rows: Sequence[Row], sources: Sequence[str]) -> dict[str, Any]:
    """AUC of each source's score for its presence (upper half) in scans with several artefacts."""
    found = {}
    for channel, source in enumerate(sources, 1):
        chosen = [
            row
            for row in rows
            if row.artefact == MIXED
            and (source not in row.fractions or row.fractions[source] >= 0.5)
        ]
        found[source] = bootstrap(
            auc,
            [row.subject for row in chosen],
            [source in row.fractions for row in chosen],
            [row.scores[channel] for row in chosen],
        )
    return found


def quality(rows: Sequence[Row]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rank correlation with the Dice reached, of each measure turned so that more means worse.

    Returns:
      Pooled over subjects, and within subjects: changes against the clean scan of the same subject
      and contrast.
    """
    clean = _clean(rows)
    bad = [row for row in rows if row.artefact is not None]
    pooled, within = {}, {}
    for name, (measure, sign) in MEASURES.items():
        pooled[name] = bootstrap(
            spearman,
            [row.subject for row in rows],
            [sign * measure(row) for row in rows],
            [row.dice for row in rows],
        )
        references = [clean[row.subject, row.draw] for row in bad]
        within[name] = bootstrap(
            spearman,
            [row.subject for row in bad],
            [sign * (measure(r) - measure(c)) for r, c in zip(bad, references, strict=True)],
            [r.dice - c.dice for r, c in zip(bad, references, strict=True)],
        )
    return pooled, within


def coverage(rows: Sequence[Row], scale: float) -> dict[str, Any]:
    """Share of the volumes within one standard deviation of the clean scan's, by the error bar
    before and after calibration on other subjects; for each artefact as well."""
    clean = _clean(rows)
    bad = [row for row in rows if row.artefact is not None]

    def share(chosen, factor):
        inside = [
            abs(row.volume - clean[row.subject, row.draw].volume) <= factor * row.volume_uncertainty
            for row in chosen
        ]
        return bootstrap(mean, [row.subject for row in chosen], inside)

    kinds = sorted({row.artefact for row in bad})
    return {
        "before": share(bad, 1.0),
        "after": share(bad, scale),
        "by_artefact": {
            kind: share([row for row in bad if row.artefact == kind], scale) for kind in kinds
        },
    }


def in_place(rows: Sequence[Row], sources: Sequence[str]) -> dict[str, Any]:
    """Own variance near the border of the true grey matter over that of the whole head."""
    found = {}
    for channel, source in enumerate(sources, 1):
        chosen = _severe(rows, source)
        found[source] = bootstrap(
            mean,
            [row.subject for row in chosen],
            [row.border[channel] / row.scores[channel] for row in chosen],
        )
    return found


def _clean(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    """The clean scan of each subject and contrast."""
    return {(row.subject, row.draw): row for row in rows if row.artefact is None}


def _severe(rows: Sequence[Row], artefact: str) -> list[Row]:
    """Scans with one artefact, in the upper half of its severities."""
    return [row for row in rows if row.artefact == artefact and row.fractions[artefact] >= 0.5]


def known_limit(rows: Sequence[Row]) -> dict[str, Any]:
    """Rank correlation of the task variance with the severity of noise: it falls in heavy noise."""
    chosen = [row for row in rows if row.artefact == "noise"]
    return bootstrap(
        spearman,
        [row.subject for row in chosen],
        [row.fractions["noise"] for row in chosen],
        [row.scores[0] for row in chosen],
    )


def all_results(rows: Sequence[Row], model: Model) -> dict[str, Any]:
    """Everything that `evidence.json` holds of the simulated scans."""
    sources = model.description.sources
    pooled, within = quality(rows)
    return {
        "decoupling": decoupling(rows, ["task", *sources], sources),
        "change": change(rows, ["task", *sources], sources),
        "detected": detection(rows, sources),
        "cause": cause(rows, sources),
        "severity_spearman": severity(rows, sources),
        "mixtures": mixtures(rows, sources),
        "quality_spearman": pooled,
        "quality_spearman_within": within,
        "coverage": coverage(rows, model.calibration["volume"]["scale"]),
        "border_ratio": in_place(rows, sources),
        "task_variance_over_noise": known_limit(rows),
        "dice_clean": bootstrap(
            mean,
            [row.subject for row in rows if row.artefact is None],
            [row.dice for row in rows if row.artefact is None],
        ),
    }
