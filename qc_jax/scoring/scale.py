"""Where scores and variances are shown: axes and ranges that are the same for every scan.

A variance below the limit of detection says nothing, so that it has no percentile, no severity and
no colour.  From there on scales are logarithmic: harm begins at a tenth of what ruins a scan.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qc_jax import uncertainty
from qc_jax.scoring.record_fields import Scored

LIMIT = 2 * uncertainty.VARIANCE_FLOOR
"""Limit of detection of a source's variance, in logits².  On 48 clean or harmlessly changed
versions of 26 real heads motion, spike, ghosting and blur stay below it, over the head as in its
worst part, and wrap-around in 47; noise is above it in 32."""
AT_LIMIT = "not found"
"""In the place of a percentile and of a severity."""
_SEVERE = 2 / 3
"""Way from mild to severe from which on an artefact is called severe."""
_NARROWEST = 5 * LIMIT
"""Upper end of a range, at the least: where a calibration calls everything severe."""
_HIGHEST = 1.0
"""Upper end for the task, the total, and models without calibration."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A fixed axis; what lies beyond its ends is shown at them.

    Attributes:
      low, high: its ends.
      ticks: numbers that are written at it.
      logarithmic: of a score; `low` is above 0 then.
      closed: nothing can lie beyond its high end.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False
    closed: bool = False

    def positions(self, values: np.ndarray | Sequence[float]) -> np.ndarray:
        """Of `(S,)` values, 0 at the low end to 100 at the high one."""
        pinned = np.clip(np.asarray(values, float), self.low, self.high)
        low, high = np.float64(self.low), np.float64(self.high)
        if self.logarithmic:
            pinned, low, high = np.log(pinned), np.log(low), np.log(high)
        return 100 * (pinned - low) / (high - low)

    def labels(self) -> list[tuple[float, str]]:
        """Position and text of each tick; those at the ends say that more lies there."""
        ends = {self.low: "≤ ", self.high: "" if self.closed else "≥ "}
        places = self.positions(self.ticks).tolist()
        return [
            (at, f"{ends.get(tick, '')}{tick:.4g}")
            for at, tick in zip(places, self.ticks, strict=True)
        ]


SCORE = Axis(LIMIT, 10.0, (LIMIT, 0.1, 1.0, 10.0), logarithmic=True)
DICE = Axis(0.4, 1.0, (0.4, 0.6, 0.8, 1.0), closed=True)
VOLUME = Axis(200.0, 1200.0, (200.0, 450.0, 700.0, 950.0, 1200.0))


def axis_of(column: str) -> Axis:
    """The axis of a column of the group table."""
    return {"predicted_dice": DICE, "grey_matter_volume_ml": VOLUME}.get(column, SCORE)


def found(record: Scored, source: str) -> bool:
    """Whether a source's variance is above the limit anywhere; the task's always counts.

    Args:
      record: has `scores`, and `local_scores` but for versions before 0.10.
      source: its name, or `task`.
    """
    local = record.get("local_scores", record["scores"])
    return source == "task" or max(record["scores"][source], local[source]) > LIMIT


def has_percentile(record: Scored, source: str) -> bool:
    """Whether a source's score, over the head as a whole, is above the limit; the task's always
    counts.  See `found`."""
    return source == "task" or record["scores"][source] > LIMIT


class Range(NamedTuple):
    """Of the colours of a map, in logits², with a word for each end that means something."""

    low: float
    high: float
    at_low: str = ""
    at_high: str = ""

    def shares(self, variance: np.ndarray | float) -> np.ndarray:
        """Of a map of any shape, 0 up to the low end and 1 from the high end on."""
        pinned = np.clip(variance, self.low, self.high)
        return np.log(pinned / self.low) / np.log(self.high / self.low)

    def labels(self) -> list[tuple[float, str]]:
        """Position, 0 to 100, and text of the ticks of its bar."""
        # Those that leave room for the words at the ends.
        inner = [n for n in (0.05, 0.1, 0.2, 0.5, 1.0) if 0.35 < self.shares(n) < 0.75]
        numbers = ((self.low, self.at_low), *((n, "") for n in inner), (self.high, self.at_high))
        return [
            (100 * float(self.shares(number)), f"{number:.2g} {word}".strip())
            for number, word in numbers
        ]


def range_of(name: str, calibration: Mapping[str, Any]) -> Range:
    """From the limit of detection to where a calibration begins to call a source severe, or to the
    highest score that it has seen of one that it never calls so.

    Args:
      name: of a source, the task or the total.
      calibration: see `calibration.fit`; may be empty.
    """
    if name == "total":  # of as many variances, each of which has a floor
        return Range(LIMIT * max(len(calibration.get("reference", ())), 1), _HIGHEST)
    steps = calibration.get("severity", {}).get(name)
    if steps is None:
        return Range(LIMIT, _HIGHEST, "" if name == "task" else AT_LIMIT)
    reached = [
        score
        for score, fraction in zip(steps["standard_scores"], steps["fractions"], strict=True)
        if fraction >= _SEVERE
    ]
    standard = min(reached, default=max(steps["standard_scores"]))
    names = list(calibration["reference"])
    channel = len(names) + names.index(name)  # of the local scores
    mean, scale = (calibration[key][channel] for key in ("log_mean", "log_scale"))
    variance = np.exp(mean + scale * np.sinh(standard)) - uncertainty.VARIANCE_FLOOR
    severe = "severe" if reached and variance >= _NARROWEST else ""
    return Range(LIMIT, max(float(variance), _NARROWEST), AT_LIMIT, severe)
