"""From rows to figures: each an entry of `people.mean` or `people.share`, for JSON.

A version does harm where the Dice coefficient with the clean version's segmentation is below 0.9.
"""

import collections
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments import decided
from experiments.real_heads import people, youden
from experiments.real_heads.measuring import NOT_NAMED, Row
from experiments.real_heads.people import Interval
from qc_jax.scoring.answer import CLEAN

HARMFUL = 0.9
"""Dice coefficient that is kept, below which harm is done."""
SPOILT = ("kinds", "local", "uncovered", "torchio")
FAINT = 0.35
"""Severities of TorchIO below it, 0.1 to 0.3, are faint."""
WAYS: dict[str, Callable[[Row], float]] = {
    "doubt": lambda row: 1 - row.causes[CLEAN],
    "predicted_dice": lambda row: -row.predicted_dice,
}
"""What tells a bad scan from a good one, larger is worse: 1 - P(none), and the predicted Dice."""


def summary_of(rows: Sequence[Row]) -> dict[str, Any]:
    """All figures, by section; a section of what was not scored is left out."""
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    clean = {row.head: row for row in groups["clean"]}
    sections: dict[str, Callable[[list[Row]], dict[str, Any]]] = {
        "clean": _of_clean,
        "kinds": lambda found: by_kind(found, _named),
        "local": lambda found: by_kind(found, lambda part: _named(part) | _where(part)),
        "harmless": lambda found: by_kind(found, lambda part: _change(part, clean)),
        "uncovered": lambda found: by_kind(found, lambda part: _doubt(part, clean)),
        "torchio": lambda found: _peers(found, groups["clean"]),
    }
    summary = {name: make(groups[name]) for name, make in sections.items() if groups[name]}
    spoilt = [row for name in SPOILT for row in groups[name]]
    judged = {"clean": groups["clean"], "spoilt": spoilt} | {n: groups[n] for n in SPOILT}
    summary["dice"] = {
        name: _dice(with_labels)
        for name, found in judged.items()
        if (with_labels := [row for row in found if row.dice is not None])
    }
    done, reached = decided.decisions(
        decided.Judged(
            row.group,
            row.predicted_dice,
            row.volume,
            row.volume_error,
            row.cause_named,
            row.dice,
        )
        for row in rows
        if row.dice is not None
    )
    summary["decisions"] = {"done": done, "reached": reached} if done else {}
    summary["volume"] = {
        name: share(found, lambda row: abs(row.volume - row.clean_volume) <= row.volume_error)
        for name, found in judged.items()
        if name != "clean" and found
    }
    return summary


def by_kind(
    rows: Sequence[Row], figures: Callable[[list[Row]], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The figures of all rows, and of those of each kind."""
    ordered = sorted(rows, key=lambda row: row.kind)
    kinds = {kind: list(found) for kind, found in itertools.groupby(ordered, lambda r: r.kind)}
    return {"all": figures(list(rows))} | {kind: figures(found) for kind, found in kinds.items()}


def share(rows: Sequence[Row], holds: Callable[[Row], bool]) -> Interval:
    """Of the rows, see `people.share`."""
    return people.share([row.person for row in rows], [holds(row) for row in rows])


def mean(rows: Sequence[Row], number: Callable[[Row], float | None]) -> Interval:
    """Over people, of the rows that have this number, see `people.mean`."""
    values = [(row.person, value) for row in rows if (value := number(row)) is not None]
    return people.mean([person for person, _ in values], [value for _, value in values])


def _of_clean(rows: list[Row]) -> dict[str, Any]:
    """How often one of the sources is named, and how often none can be."""
    chosen = {
        "all": rows,
        "whole": [row for row in rows if not row.stripped],
        "stripped": [row for row in rows if row.stripped],
    }
    return {
        name: {
            "accused": share(found, lambda row: row.accused),
            "not_named": share(found, lambda row: row.answer == NOT_NAMED),
            "taken_for": _counts(row for row in found if row.accused),
        }
        for name, found in chosen.items()
        if found
    }


def _named(rows: list[Row]) -> dict[str, Any]:
    """How often the cause is right where harm is done, and at all; of the former, how often it is
    named with another one that leaves the same trace."""
    harmful = [row for row in rows if row.kept_dice < HARMFUL]
    return {
        "right_of_harmful": share(harmful, lambda row: row.right),
        "right_of_all": share(rows, lambda row: row.right),
        "as_one_of_two": sum(row.right and len(row.named_causes) > 1 for row in harmful),
        "taken_for": _counts(row for row in harmful if not row.right),
    }


def _where(rows: list[Row]) -> dict[str, Interval]:
    return {
        "own_auc": mean(rows, lambda row: row.own_auc),
        "total_auc": mean(rows, lambda row: row.total_auc),
    }


def _change(rows: list[Row], clean: dict[str, Row]) -> dict[str, Any]:
    """How often the cause is another one than that of the clean scan, and what becomes of it."""
    return {
        "changed": share(rows, lambda row: row.answer != clean[row.head].answer),
        "accused": share(rows, lambda row: row.accused),
        "taken_for": _counts(row for row in rows if row.answer != clean[row.head].answer),
        "kept_dice": mean(rows, lambda row: row.kept_dice),
    }


def _doubt(rows: list[Row], clean: dict[str, Row]) -> dict[str, Any]:
    """How often a source is blamed, and how far the predicted Dice falls with that which is
    kept."""
    return {
        "accused": share(rows, lambda row: row.accused),
        "taken_for": _counts(row for row in rows if row.accused),
        "fall": mean(rows, lambda row: clean[row.head].predicted_dice - row.predicted_dice),
        "harm": mean(rows, lambda row: 1 - row.kept_dice),
    }


def _dice(rows: list[Row]) -> dict[str, Interval]:
    """Of rows with labels."""
    return {
        "reached": mean(rows, lambda row: row.dice),
        "predicted": mean(rows, lambda row: row.predicted_dice),
        "error": mean(rows, lambda row: abs(row.predicted_dice - (row.dice or 0.0))),
    }


def _peers(rows: list[Row], clean: list[Row]) -> dict[str, Any]:
    """Youden's index of each transform and way, over all severities, the faint ones and each."""
    found: dict[str, Any] = {}
    for transform in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == transform]
        parts = {"all": own, "faint": [row for row in own if row.fraction < FAINT]}
        for severity in sorted({row.fraction for row in own}):
            parts[f"{severity:.1f}"] = [row for row in own if row.fraction == severity]
        found[transform] = {
            name: {way: _index(part, clean, number) for way, number in WAYS.items()}
            for name, part in parts.items()
            if part
        }
    found["mean"] = {
        way: float(np.mean([of_one["all"][way]["others"]["value"] for of_one in found.values()]))
        for way in WAYS
    }
    return found


def _index(bad: list[Row], clean: list[Row], number: Callable[[Row], float]) -> youden.Index:
    rows = [*clean, *bad]
    spoilt = [False] * len(clean) + [True] * len(bad)
    return youden.index([row.person for row in rows], spoilt, [number(row) for row in rows])


def _counts(rows) -> dict[str, int]:
    """Answers, the most frequent first."""
    return dict(collections.Counter(row.answer for row in rows).most_common())
