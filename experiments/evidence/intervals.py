"""Statistics with their confidence intervals: subjects are drawn anew, with all their scans."""

import functools
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
from scipy import stats
from sklearn import metrics


class Interval(TypedDict):
    """A statistic and its 95 % interval, of n scans of so many subjects; nan where none are."""

    value: float
    low: float
    high: float
    n: int
    subjects: int


def bootstrap(
    statistic: Callable[..., float],
    subjects: Sequence[str],
    *columns: Sequence[float] | np.ndarray,
    draws: int = 1000,
) -> Interval:
    """The statistic, and the 95 % percentile interval over subjects.

    Args:
      statistic: of arrays, one for each column, whatever the order of the rows.
      subjects: whom each row belongs to.
      columns: one number for each row.
      draws: of the bootstrap; those for which the statistic is not defined are left out, and where
        none remains, all three are nan.
    """
    owners = np.asarray(subjects)
    arrays = [np.asarray(column) for column in columns]
    rows = [np.flatnonzero(owners == subject) for subject in np.unique(owners)]
    if not rows:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0, "subjects": 0}

    @functools.cache
    def of_subjects(*drawn: int) -> float:
        chosen = np.concatenate([rows[i] for i in drawn])
        return statistic(*(array[chosen] for array in arrays))

    # In order, because few subjects are drawn in few ways: four of them in 35.
    drawn = np.sort(np.random.default_rng(0).integers(0, len(rows), (draws, len(rows))))
    found = [of_subjects(*row) for row in drawn.tolist()]
    defined = np.asarray(found)[~np.isnan(found)]
    low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) else (np.nan, np.nan)
    return {
        "value": float(statistic(*arrays)),
        "low": float(low),
        "high": float(high),
        "n": len(subjects),
        "subjects": len(rows),
    }


def mean(values: np.ndarray) -> float:
    """Of numbers, or the share of what is true."""
    return float(np.mean(values))


def auc(bad: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, by ranks; nan where only one kind of scan is there.

    A twentieth of the time of `sklearn.metrics.roc_auc_score`, which matters in a bootstrap.
    """
    positive, negative = bad.sum(), (~bad).sum()
    if not positive or not negative:
        return float("nan")
    ranks = stats.rankdata(scores)[bad].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; nan for a constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def youden(bad: np.ndarray, scores: np.ndarray) -> float:
    """Largest sensitivity + specificity - 1 over all thresholds of a score that rises with bad."""
    if bad.all() or not bad.any():
        return float("nan")
    false_positives, true_positives, _ = metrics.roc_curve(bad, scores)
    return float(np.max(true_positives - false_positives))
