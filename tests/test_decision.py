"""Keep, look or drop: closed cases of the rule, its thresholds, and a study that may lose some."""

import math

import pytest

from qc_jax.errors import ConfigError
from qc_jax.scoring.decision import DROP, KEEP, LOOK, Rule, decide, losing_at_most

GOOD = {"predicted_dice": 0.87, "volume": 700.0, "volume_error": 21.0, "cause_named": True}


def test_a_good_scan_is_kept():
    assert decide(**GOOD) == (
        KEEP,
        "the predicted Dice coefficient is 0.870, from 0.87 on, and the volume is known to 3.0%",
    )


@pytest.mark.parametrize(
    ("change", "word", "why"),
    [
        ({"predicted_dice": 0.87}, KEEP, "from 0.87 on"),
        ({"predicted_dice": 0.869}, LOOK, "between 0.75 (drop) and 0.87 (keep)"),
        ({"predicted_dice": 0.75}, LOOK, "between 0.75 (drop) and 0.87 (keep)"),
        ({"predicted_dice": 0.749}, DROP, "below 0.75"),
        ({"cause_named": False}, LOOK, "the cause is doubtful; the predicted Dice"),
        ({"cause_named": False, "predicted_dice": 0.5}, DROP, "below 0.75"),
        ({"volume_error": 42.0}, KEEP, "the volume is known to 6.0%"),
        ({"volume_error": 49.0}, LOOK, "the volume is known to 7.0%, not to 6.0%"),
        ({"volume": 0.0}, LOOK, "nothing better than itself"),
        ({"predicted_dice": math.nan}, LOOK, "between"),
        ({"volume_error": math.nan}, LOOK, "nothing better than itself"),
    ],
)
def test_what_is_said_at_and_beyond_each_threshold(change, word, why):
    decision = decide(**GOOD | change)
    assert decision.word == word and why in decision.why


def test_a_study_sets_its_thresholds():
    assert decide(**GOOD, rule=Rule(keep_dice=0.9)).word == LOOK
    assert decide(**GOOD, rule=Rule(keep_dice=0.9, drop_dice=0.88)).word == DROP
    assert decide(**GOOD, rule=Rule(volume_error=0.02)).word == LOOK
    assert decide(**GOOD | {"predicted_dice": 0.01}, rule=Rule(drop_dice=0)).word == LOOK


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({"keep_dice": 1.2}, "--keep-dice 1.2: a number from 0 to 1"),
        ({"drop_dice": -0.1}, "--drop-dice -0.1: a number from 0 to 1"),
        ({"volume_error": math.nan}, "--keep-volume-error nan: a number from 0 to 1"),
        ({"drop_dice": 0.9}, "--drop-dice 0.9 is above --keep-dice 0.87"),
    ],
)
def test_thresholds_that_cannot_be_meant(thresholds, said):
    with pytest.raises(ConfigError, match=said):
        Rule(**thresholds)


DICES = [0.5, 0.6, 0.7, 0.8, 0.82, 0.84, 0.87, 0.88, 0.89, 0.9]


@pytest.mark.parametrize(
    ("share", "dropped"), [(0.0, 0), (0.09, 0), (0.1, 1), (0.3, 3), (0.35, 3), (0.9, 6), (1.0, 6)]
)
def test_the_worst_are_lost_and_none_that_is_kept(share, dropped):
    rule = losing_at_most(share, DICES, Rule())
    words = [decide(dice, 700.0, 21.0, True, rule).word for dice in DICES]
    assert words == [DROP] * dropped + [LOOK] * (6 - dropped) + [KEEP] * 4


def test_equal_scans_are_not_told_apart_to_lose_more():
    rule = losing_at_most(0.5, [0.6] * 9 + [0.7], Rule())
    assert decide(0.6, 700.0, 21.0, True, rule).word == LOOK


def test_scans_without_a_number_and_shares_that_are_none():
    assert losing_at_most(0.5, [], Rule()).drop_dice == 0.87
    assert losing_at_most(0.5, [math.nan, 0.6, 0.7], Rule()).drop_dice == 0.7
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match="--may-lose"):
            losing_at_most(share, DICES, Rule())
