"""How often a decision is wrong."""

from experiments.decided import Judged, decisions


def scan(what, predicted, dice, named=True):
    return Judged(what, predicted, 600.0, 30.0, named, dice)


def test_decisions_are_counted_by_what_was_done_and_by_what_was_reached():
    scans = [
        scan("clean", 0.9, 0.88),
        scan("clean", 0.9, 0.79),  # wrongly kept
        scan("blur", 0.8, 0.8),
        scan("blur", 0.9, 0.9, named=False),
        scan("blur", 0.7, 0.7),
        scan("blur", 0.7, 0.95),  # wrongly dropped
    ]
    done, reached = decisions(scans)
    assert done == {
        "clean": {"keep": 2, "look": 0, "drop": 0},
        "blur": {"keep": 0, "look": 2, "drop": 2},
    }
    assert reached == {
        "0.8 and more": {"keep": 1, "look": 2, "drop": 1},
        "below 0.8": {"keep": 1, "look": 0, "drop": 1},
        "of these below 0.75": {"keep": 0, "look": 0, "drop": 1},
    }
