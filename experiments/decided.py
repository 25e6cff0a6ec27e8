"""How often `keep`, `look` and `drop` are wrong, by the Dice coefficient that is reached."""

import collections
from collections.abc import Iterable
from typing import NamedTuple

from qc_jax.scoring import decision
from qc_jax.scoring.decision import DROP, KEEP, LOOK

Counts = dict[str, int]
"""Scans by the word of their decision."""
WORDS = (KEEP, LOOK, DROP)
_BANDS = {"0.8 and more": (0.8, 2.0), "below 0.8": (0.0, 0.8), "of these below 0.75": (0.0, 0.75)}


class Judged(NamedTuple):
    """What a decision rests on, and what is true.

    Attributes:
      what: was done to the scan.
      predicted_dice, volume, volume_error, cause_named: see `decision.decide`.
      dice: with the labels.
    """

    what: str
    predicted_dice: float
    volume: float
    volume_error: float
    cause_named: bool
    dice: float


def decisions(scans: Iterable[Judged]) -> tuple[dict[str, Counts], dict[str, Counts]]:
    """By what was done, in the order of the scans, and by the Dice coefficient that was reached;
    with the thresholds that are the default."""
    done: dict[str, collections.Counter[str]] = {}
    reached = {band: collections.Counter[str]() for band in _BANDS}
    for scan in scans:
        word = decision.decide(
            scan.predicted_dice, scan.volume, scan.volume_error, scan.cause_named
        ).word
        done.setdefault(scan.what, collections.Counter())[word] += 1
        for band, (low, high) in _BANDS.items():
            reached[band][word] += low <= scan.dice < high
    return _plain(done), _plain(reached)


def _plain(counters: dict[str, collections.Counter[str]]) -> dict[str, Counts]:
    return {name: {word: found[word] for word in WORDS} for name, found in counters.items()}
