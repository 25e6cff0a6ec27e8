"""Statistics over people, each of whom has several scans, with intervals that hold for few of them.

A percentile bootstrap over a handful of people is too narrow (Efron and Tibshirani 1993, section
14.3).  Means are those of each person's mean, with Student's t; shares have the interval of Clopper
and Pearson for as many independent scans as the spread over people says they are worth (Korn and
Graubard 1998).  Every entry is `{value, low, high, people, n}`; the interval is that of 95 %, nan
where there are fewer than two people.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy import stats

_TAIL = 0.025


class Interval(TypedDict):
    """A mean or share with its interval, of n scans of so many people."""

    value: float
    low: float
    high: float
    people: int
    n: int


def mean(people: Sequence[str], values: Sequence[float]) -> Interval:
    """The mean over people of the mean of each one's numbers, and its t interval.

    Args:
      people: whom each number belongs to.
      values: any numbers.
    """
    own = np.array([np.mean(group) for group in _by_person(people, values)])
    number = len(own)
    value = float(own.mean()) if number else np.nan
    half = np.nan
    if number > 1:
        error = own.std(ddof=1) / np.sqrt(number)
        half = float(stats.t.ppf(1 - _TAIL, number - 1) * error)
    return _entry(value, value - half, value + half, number, len(values))


def share(people: Sequence[str], holds: Sequence[bool]) -> Interval:
    """The share of all scans of which something holds, and its Korn-Graubard interval.

    Where it holds of all or of none, nobody knows how alike the scans of a person are, and each
    person counts as one scan.

    Args:
      people: whom each scan belongs to.
      holds: of each scan.
    """
    groups = _by_person(people, np.asarray(holds, float))
    sums, sizes = np.array([(group.sum(), len(group)) for group in groups]).reshape(-1, 2).T
    number, scans = len(groups), len(holds)
    if number < 2:
        value = float(np.mean(holds)) if scans else np.nan
        return _entry(value, np.nan, np.nan, number, scans)
    value = float(sums.sum() / scans)
    worth = float(number)
    if 0 < value < 1:
        residuals = sums - value * sizes
        variance = number / (number - 1) * np.sum(residuals**2) / scans**2
        ratio = stats.t.ppf(_TAIL, scans - 1) / stats.t.ppf(_TAIL, number - 1)
        worth = float(scans)
        if variance > 0:
            worth = min(worth, float(value * (1 - value) / variance * ratio**2))
    right = worth * value
    low = stats.beta.ppf(_TAIL, right, worth - right + 1) if value > 0 else 0.0
    high = stats.beta.ppf(1 - _TAIL, right + 1, worth - right) if value < 1 else 1.0
    return _entry(value, float(low), float(high), number, scans)


def _by_person(people: Sequence[str], values: Sequence[float] | np.ndarray) -> list[np.ndarray]:
    owners, numbers = np.asarray(people), np.asarray(values, float)
    return [numbers[owners == person] for person in np.unique(owners)]


def _entry(value: float, low: float, high: float, people: int, scans: int) -> Interval:
    return {"value": value, "low": low, "high": high, "people": people, "n": scans}
