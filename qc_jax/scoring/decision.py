"""Keep a scan for measuring grey matter, look at it first, or drop it: by what was predicted of it.

A rule is three numbers that a study can set.  The Dice coefficient says how good the segmentation
will be, the error bar how well its volume is known; an answer that is doubtful keeps nothing.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from qc_jax.errors import ConfigError

KEEP, LOOK, DROP = "keep", "look", "drop"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a scan has to reach.  The defaults were chosen on 204 versions of 26 real heads with
    labels, see `docs/scoring.md`.

    Attributes:
      keep_dice: predicted Dice coefficient from which on a scan is kept, 0 to 1.
      drop_dice: below it a scan is dropped; 0 drops none.
      volume_error: one standard deviation of the volume up to which a scan is kept, as a share of
        the volume, 0 to 1.
    """

    keep_dice: float = 0.87
    drop_dice: float = 0.75
    volume_error: float = 0.06

    def __post_init__(self) -> None:
        """Raises ConfigError for thresholds beyond 0 to 1, or out of order."""
        for option, value in (
            ("--keep-dice", self.keep_dice),
            ("--drop-dice", self.drop_dice),
            ("--keep-volume-error", self.volume_error),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"{option} {value:g}: a number from 0 to 1 is meant")
        if self.drop_dice > self.keep_dice:
            raise ConfigError(
                f"--drop-dice {self.drop_dice:g} is above --keep-dice {self.keep_dice:g}: a scan "
                "would be kept and dropped"
            )


class Decision(NamedTuple):
    """`KEEP`, `LOOK` or `DROP`, and why, in a sentence without a full stop."""

    word: str
    why: str


def decide(
    predicted_dice: float,
    volume: float,
    volume_error: float,
    cause_named: bool,
    rule: Rule = Rule(),
) -> Decision:
    """What to do with a scored scan.

    In this order: a low predicted Dice coefficient drops it, whatever else is said of it; a
    doubtful answer, a Dice coefficient between the thresholds and a wide error bar ask for a look.
    A named cause does not: whether it did harm is what the Dice coefficient says.

    Args:
      predicted_dice: of the grey-matter segmentation; a number that is none keeps nothing.
      volume: of grey matter, in mL.
      volume_error: one standard deviation of it, in mL.
      cause_named: whether the answer to what is wrong can be believed, see `answer.answer`.
      rule: the thresholds.
    """
    dice = f"the predicted Dice coefficient is {predicted_dice:.3f}"
    if predicted_dice < rule.drop_dice:
        return Decision(DROP, f"{dice}, below {rule.drop_dice:.3g}")
    if not cause_named:
        return Decision(LOOK, f"the cause is doubtful; {dice}")
    if not predicted_dice >= rule.keep_dice:
        return Decision(
            LOOK, f"{dice}, between {rule.drop_dice:.3g} (drop) and {rule.keep_dice:.3g} (keep)"
        )
    share = volume_error / volume if volume > 0 else math.inf
    if not share <= rule.volume_error:
        known = f"to {share:.1%}" if share < 1 else "to nothing better than itself"
        return Decision(LOOK, f"the volume is known {known}, not to {rule.volume_error:.1%}")
    return Decision(
        KEEP,
        f"{dice}, from {rule.keep_dice:.3g} on, and the volume is known to {share:.1%}",
    )


OF_REFUSED = Decision(LOOK, "it was refused and has no scores")
OF_UNCALIBRATED = Decision(LOOK, "its model has no calibration and predicts no Dice coefficient")
"""Of scans about which nothing is known to decide by."""


def decide_known(
    predicted_dice: float | None,
    volume: float | None,
    volume_error: float | None,
    cause_named: bool | None,
    rule: Rule,
) -> Decision:
    """As `decide`, by what a record or a row of a table holds of a scored scan.

    Those of a model without calibration hold nothing to decide by; those of version 0.8 and before
    do not say whether the cause was doubtful, which then counts as not.
    """
    if predicted_dice is None or volume is None or volume_error is None:
        return OF_UNCALIBRATED
    return decide(predicted_dice, volume, volume_error, cause_named is not False, rule)


def losing_at_most(share: float, dices: Sequence[float], rule: Rule) -> Rule:
    """The rule that drops as many scans of a study as may be lost, the worst first, and none that
    it would keep.

    Args:
      share: of the scored scans that may be dropped, 0 to 1.
      dices: predicted Dice coefficient of each.
      rule: whose other thresholds stay.

    Raises:
      ConfigError: no such share.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"--may-lose {share:g}: a share from 0 to 1 is meant")
    ranked = sorted(dice for dice in dices if math.isfinite(dice))
    number = math.floor(share * len(ranked) + 1e-9)  # 0.29 * 100 is 28.999...
    first_left = ranked[number] if number < len(ranked) else rule.keep_dice
    return dataclasses.replace(rule, drop_dice=min(first_left, rule.keep_dice))
