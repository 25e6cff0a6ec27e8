"""From the table of trials to the figures of `evidence.json`."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import polars as pl
from polars import col

from experiments import decided
from experiments.evidence.intervals import Interval, auc, bootstrap, mean, spearman
from qc_jax.models import Model
from qc_jax.scoring.answer import CLEAN
from qc_jax.scoring.calibration import MIXED

ByName = dict[str, Interval]
Matrix = dict[str, ByName]
"""By the artefact that was put in, and by what was read."""


class Coverage(TypedDict):
    """Shares of the volumes within their error bar, before and after calibration."""

    before: Interval
    after: Interval
    by_artefact: ByName


class AtSeverity(Interval):
    """Youden's index at one severity."""

    severity: float


class OfTorchIO(TypedDict):
    """Of one of TorchIO's artefacts, the own score's figures."""

    spearman: Interval
    youden: list[AtSeverity]


class Decisions(TypedDict):
    """See `decided.decisions`."""

    done: dict[str, decided.Counts]
    reached: dict[str, decided.Counts]


class Evidence(TypedDict, total=False):
    """What `evidence.json` holds; without what was not asked for."""

    decoupling: Matrix
    change: Matrix
    detected: Matrix
    cause: ByName
    cause_harmed: ByName
    severity_spearman: ByName
    mixtures: ByName
    quality_spearman: ByName
    quality_spearman_within: ByName
    coverage: Coverage
    border_ratio: ByName
    task_variance_over_noise: Interval
    dice_clean: Interval
    decisions: Decisions
    torchio: dict[str, OfTorchIO]
    about: dict[str, Any]


MEASURES: dict[str, pl.Expr] = {
    "ours": -col("expected_dice"),
    "predicted_dice": -col("predicted_dice"),
    "total_variance": pl.sum_horizontal(pl.selectors.starts_with("score ")),
    "scaled_entropy": col("entropy"),
    "softmax_entropy": col("softmax_entropy"),
}
"""What is compared with Dice, larger is worse."""
OF_TISSUES: dict[str, pl.Expr] = {"snr": -col("snr"), "cnr": -col("cnr"), "efc": col("efc")}
"""MRIQC's, which need the true tissues on the grid of the image."""
_IS_CLEAN = col("artefact").is_null()
_HARMED = col("kept_dice") < 0.9
_SCAN = ("subject", "draw")


def over_subjects(
    trials: pl.DataFrame, statistic: Callable[..., float], *columns: pl.Expr
) -> Interval:
    """An entry of `intervals.bootstrap`: the statistic of these columns of the table."""
    values = [trials.select(column).to_series().to_numpy() for column in columns]
    return bootstrap(statistic, trials["subject"].to_list(), *values)


def beside_clean(trials: pl.DataFrame) -> pl.DataFrame:
    """The table with every column of the clean version of the same scan as `NAME of clean`."""
    clean = trials.filter(_IS_CLEAN)
    return trials.join(clean, on=_SCAN, how="left", suffix=" of clean", maintain_order="left")


def _severe(source: str) -> pl.Expr:
    """One artefact alone, in the upper half of its severities."""
    return (col("artefact") == source) & (col(f"fraction {source}") >= 0.5)


def decoupling(trials: pl.DataFrame, names: Sequence[str], sources: Sequence[str]) -> Matrix:
    """AUC of each channel for each artefact: upper half of the severities against clean scans."""
    return {
        artefact: {
            name: over_subjects(
                trials.filter(_IS_CLEAN | _severe(artefact)),
                auc,
                ~_IS_CLEAN,
                col(f"score {name}"),
            )
            for name in names
        }
        for artefact in sources
    }


def change(trials: pl.DataFrame, names: Sequence[str], sources: Sequence[str]) -> Matrix:
    """How many times the clean score of the same subject and contrast each score is, geometric
    mean over the upper half of the severities: what AUC, which counts any shift, does not say."""
    paired = beside_clean(trials)
    return {
        artefact: {
            name: over_subjects(
                paired.filter(_severe(artefact)),
                lambda logs: float(np.exp(np.mean(logs))),
                (col(f"score {name}") / col(f"score {name} of clean")).log(),
            )
            for name in names
        }
        for artefact in sources
    }


def detection(trials: pl.DataFrame, sources: Sequence[str]) -> Matrix:
    """Share of scans whose score lies above 95 % of the model's clean reference scans, for each
    artefact (upper half of the severities) and clean scans, source by source."""
    return {
        artefact: {
            source: over_subjects(
                trials.filter(_IS_CLEAN if artefact == CLEAN else _severe(artefact)),
                mean,
                col(f"percentile {source}") > 95,
            )
            for source in sources
        }
        for artefact in (CLEAN, *sources)
    }


def cause(trials: pl.DataFrame, sources: Sequence[str]) -> ByName:
    """Share of scans whose likeliest cause is the artefact put in, at any severity."""
    true = col("artefact").fill_null(CLEAN)
    single = trials.filter(true != MIXED)
    return {
        kind: over_subjects(
            single if kind == "all" else single.filter(true == kind), mean, col("cause") == true
        )
        for kind in ("all", CLEAN, *sources)
    }


def severity(trials: pl.DataFrame, sources: Sequence[str]) -> ByName:
    """Rank correlation of each source's score with the severity put in."""
    return {
        source: over_subjects(
            trials.filter(artefact=source), spearman, col(f"fraction {source}"), _score(source)
        )
        for source in sources
    }


def mixtures(trials: pl.DataFrame, sources: Sequence[str]) -> ByName:
    """AUC of each source's score for its presence (upper half) in scans with several artefacts."""
    mixed = trials.filter(artefact=MIXED)
    return {
        source: over_subjects(
            mixed.filter(_absent(source) | (col(f"fraction {source}") >= 0.5)),
            auc,
            ~_absent(source),
            _score(source),
        )
        for source in sources
    }


def _score(name: str) -> pl.Expr:
    return col(f"score {name}")


def _absent(source: str) -> pl.Expr:
    return col(f"fraction {source}").is_null()


def quality(trials: pl.DataFrame) -> tuple[ByName, ByName]:
    """Rank correlation with the Dice reached, of each measure turned so that more means worse.

    Returns:
      Pooled over subjects, and within subjects: changes against the clean scan of the same subject
      and contrast.
    """
    measures = MEASURES | (OF_TISSUES if "snr" in trials.columns else {})
    judged = beside_clean(trials.with_columns(**measures))
    bad = judged.filter(~_IS_CLEAN)
    pooled = {name: over_subjects(judged, spearman, col(name), col("dice")) for name in measures}
    within = {
        name: over_subjects(bad, spearman, _change(name), _change("dice")) for name in measures
    }
    return pooled, within


def _change(name: str) -> pl.Expr:
    return col(name) - col(f"{name} of clean")


def coverage(trials: pl.DataFrame, scale: float) -> Coverage:
    """Share of the volumes within one standard deviation of the clean scan's, by the error bar
    before and after calibration on other subjects; for each artefact as well."""
    bad = trials.filter(~_IS_CLEAN)
    error = (col("volume") - col("clean_volume")).abs()

    def share(chosen: pl.DataFrame, factor: float) -> Interval:
        return over_subjects(chosen, mean, error <= factor * col("volume_uncertainty"))

    return {
        "before": share(bad, 1.0),
        "after": share(bad, scale),
        "by_artefact": {
            kind: share(bad.filter(artefact=kind), scale)
            for kind in sorted(bad["artefact"].unique())
        },
    }


def in_place(trials: pl.DataFrame, sources: Sequence[str]) -> ByName:
    """Own variance near the border of the true grey matter over that of the whole head."""
    return {
        source: over_subjects(
            trials.filter(_severe(source)), mean, col(f"border {source}") / _score(source)
        )
        for source in sources
    }


def known_limit(trials: pl.DataFrame) -> Interval:
    """Rank correlation of the task variance with the severity of noise: it falls in heavy noise."""
    noisy = trials.filter(artefact="noise")
    return over_subjects(noisy, spearman, col("fraction noise"), _score("task"))


def all_results(trials: pl.DataFrame, model: Model) -> Evidence:
    """Everything that `evidence.json` holds of the simulated scans."""
    sources = model.description.sources
    pooled, within = quality(trials)
    return {
        "decoupling": decoupling(trials, ["task", *sources], sources),
        "change": change(trials, ["task", *sources], sources),
        "detected": detection(trials, sources),
        "cause": cause(trials, sources),
        "cause_harmed": cause(trials.filter(_IS_CLEAN | _HARMED), sources),
        "severity_spearman": severity(trials, sources),
        "mixtures": mixtures(trials, sources),
        "quality_spearman": pooled,
        "quality_spearman_within": within,
        "coverage": coverage(trials, model.calibration["volume"]["scale"]),
        "border_ratio": in_place(trials, sources),
        "task_variance_over_noise": known_limit(trials),
        "dice_clean": over_subjects(trials.filter(_IS_CLEAN), mean, col("dice")),
        "decisions": decisions(trials, model.calibration["volume"]["scale"]),
    }


def decisions(trials: pl.DataFrame, scale: float) -> Decisions:
    """Of scans with labels; `scale` is that of the volume's error bar.  Without the signs that are
    looked for on the grid of a file, which make more answers doubtful and find spikes and copies.
    """
    done, reached = decided.decisions(
        decided.Judged(
            row["artefact"] or CLEAN,
            row["predicted_dice"],
            row["volume"],
            scale * row["volume_uncertainty"],
            row["cause_named"],
            row["dice"],
        )
        for row in trials.drop_nulls("dice").iter_rows(named=True)
    )
    return {"done": done, "reached": reached}
