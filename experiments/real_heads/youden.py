"""Youden's index of a score over people: sensitivity + specificity - 1 at a threshold.

A scan is called bad from the threshold on.  A threshold that is chosen on the very people that it
is judged by flatters it, so that everyone is judged by that of the others as well.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from sklearn import metrics

from experiments.real_heads import people as over_people


class Index(TypedDict):
    """At the best threshold of all people, and of everybody at that of the others."""

    best: over_people.Interval
    others: over_people.Interval


def threshold(bad: np.ndarray, scores: np.ndarray) -> float:
    """That of the largest index, half-way between the scores that it parts."""
    false_positives, true_positives, levels = metrics.roc_curve(
        bad, scores, drop_intermediate=False
    )
    best = float(levels[np.argmax(true_positives - false_positives)])
    below = scores[scores < best]
    return (best + float(below.max())) / 2 if below.size and np.isfinite(best) else best


def index(people: Sequence[str], bad: Sequence[bool], scores: Sequence[float]) -> Index:
    """Mean over people of each one's sensitivity + specificity - 1, see `people.mean`.

    Args:
      people: whom each scan belongs to.
      bad: whether it is spoilt; people without a good scan or without a bad one are left out.
      scores: of each scan, larger is worse.

    Returns:
      `best`: at the best threshold over all people, its interval as though the threshold had been
      given; `others`: everybody at the best threshold of the others.
    """
    whose, spoilt, values = np.asarray(people), np.asarray(bad, bool), np.asarray(scores, float)
    known = [
        person
        for person in np.unique(whose).tolist()
        if spoilt[whose == person].any() and not spoilt[whose == person].all()
    ]
    if len(known) < 2:
        nothing = over_people.mean([], [])
        return {"best": nothing, "others": nothing}
    kept = np.isin(whose, known)
    whose, spoilt, values = whose[kept], spoilt[kept], values[kept]

    def own(person: str, level: float) -> float:
        mine = whose == person
        called = values[mine] >= level
        return float(called[spoilt[mine]].mean() - called[~spoilt[mine]].mean())

    at_all = threshold(spoilt, values)
    best = [own(person, at_all) for person in known]
    others = [
        own(person, threshold(spoilt[whose != person], values[whose != person])) for person in known
    ]
    return {"best": over_people.mean(known, best), "others": over_people.mean(known, others)}
