"""Statistics over people, and the figures that real heads are summed up by."""

import io

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from sklearn import metrics

from experiments.real_heads import measuring, people, summary, tables, youden

SOURCES = ("motion", "spike", "noise", "ghosting", "blur", "wrap")


# -- Statistics ------------------------------------------------------------------------------------


def test_a_mean_over_people_is_students():
    rng = np.random.default_rng(0)
    own = rng.standard_normal(7)
    whose = np.repeat([f"p{i}" for i in range(7)], 3)
    values = (own[:, None] + [[-1.0, 0.0, 1.0]]).ravel()  # the same mean for each
    found = people.mean(whose, values)
    low, high = stats.t.interval(0.95, 6, own.mean(), stats.sem(own))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["value"] == pytest.approx(own.mean()) and found["people"] == 7
    one = people.mean(["a", "a"], [1.0, 2.0])
    assert one["value"] == 1.5 and np.isnan(one["low"])
    assert np.isnan(people.mean([], [])["value"])


def test_a_share_over_people_at_its_ends():
    """One scan each: Clopper and Pearson's; scans of a person that are alike count as one."""
    names = [f"p{i}" for i in range(20)]
    found = people.share(names, [True] * 20)
    exact = stats.binomtest(20, 20).proportion_ci(0.95, "exact")
    assert (found["low"], found["high"]) == pytest.approx((exact.low, exact.high))
    twice = people.share(names * 5, [True] * 100)
    assert twice["low"] == pytest.approx(exact.low)
    mixed, alone = [True] * 6 + [False] * 14, people.share(names, [True] * 6 + [False] * 14)
    alike = people.share(names * 5, mixed * 5)
    assert alike["value"] == 0.3 and alike["n"] == 100
    assert alike["high"] - alike["low"] > 0.9 * (alone["high"] - alone["low"])
    exact = stats.binomtest(6, 20).proportion_ci(0.95, "exact")
    assert (alone["low"], alone["high"]) == pytest.approx((exact.low, exact.high), abs=0.02)
    assert np.isnan(people.share(["a"] * 4, [True, False, True, True])["low"])
    assert np.isnan(people.share([], [])["value"])


def test_the_interval_of_a_share_holds_the_truth_for_few_people():
    """Eight people whose own shares differ, 0.75 on average."""
    rng = np.random.default_rng(0)
    whose, held = np.repeat([f"p{i}" for i in range(8)], 6), 0
    for _ in range(200):
        own = rng.beta(3, 1, 8)
        found = people.share(whose, (rng.random((8, 6)) < own[:, None]).ravel())
        held += found["low"] <= 0.75 <= found["high"]
    assert held >= 186


def test_youden_by_the_threshold_of_others():
    """Against scikit-learn at the best threshold; without flattery at that of others."""
    rng = np.random.default_rng(0)
    whose = np.tile([f"p{i}" for i in range(30)], 2)
    bad = np.repeat([False, True], 30)
    scores = rng.standard_normal(60) + 1.5 * bad
    found = youden.index(whose, bad, scores)
    false_positives, true_positives, _ = metrics.roc_curve(bad, scores)
    assert found["best"]["value"] == pytest.approx(np.max(true_positives - false_positives))
    assert found["others"]["value"] <= found["best"]["value"]
    apart = youden.index(whose, bad, 1.0 * bad)
    assert apart["others"]["value"] == 1 and apart["best"]["people"] == 30
    # Whoever has no clean scan is left out.
    fewer = youden.index([*whose, "x"], [*bad, True], [*scores, 9.0])
    assert fewer["others"] == found["others"]
    assert np.isnan(youden.index(["a", "a"], [True, False], [1.0, 0.0])["best"]["value"])


# -- Figures ---------------------------------------------------------------------------------------


def row(person, group, kind, cause, answer, **others):
    names = ["none", *SOURCES]
    names.remove(answer)
    return measuring.Row(
        **{
            "head": person,
            "person": person,
            "stripped": person == "b",
            "group": group,
            "kind": kind,
            "cause": cause,
            "fraction": 0.5,
            "details": {},
            "causes": {answer: 0.7, **dict.fromkeys(names, 0.05)},
            "cause_named": True,
            "named_causes": [] if answer == "none" else [answer],
            "sentence": answer,
            "scores": {},
            "local_scores": {},
            "severities": {},
            "predicted_dice": 0.8,
            "dice": 0.7,
            "kept_dice": 0.5,
            "volume": 500.0,
            "clean_volume": 510.0,
            "volume_error": 12.0,
        }
        | others
    )


@pytest.fixture
def rows():
    found = []
    for person in "abc":
        found += [
            row(person, "clean", "", "none", "motion" if person == "b" else "none"),
            row(person, "kinds", "noise", "noise", "noise"),
            row(person, "kinds", "blur", "blur", "noise", kept_dice=0.95),
            row(person, "kinds", "spike", "spike", "noise"),
            row(person, "local", "blur", "blur", "blur", own_auc=0.9, total_auc=0.6),
            row(person, "harmless", "clipped", "none", "none"),
            row(person, "uncovered", "bias", "none", "noise", predicted_dice=0.5, volume=0.0),
        ]
        for severity in (0.1, 0.5, 1.0):
            found.append(
                row(person, "torchio", "ghosting", "ghosting", "ghosting", fraction=severity)
            )
    unsure = {"cause_named": False, "named_causes": []}
    found.append(row("c", "kinds", "noise", "noise", "noise", **unsure))
    return found


def test_figures_of_known_rows(rows):
    found = summary.summary_of(rows)
    harmful = found["kinds"]["all"]["right_of_harmful"]
    assert harmful["value"] == pytest.approx(3 / 7) and harmful["n"] == 7
    assert found["kinds"]["spike"]["taken_for"] == {"noise": 3}
    assert found["kinds"]["noise"]["taken_for"] == {"not named": 1}
    assert found["kinds"]["blur"]["right_of_harmful"]["n"] == 0
    assert found["clean"]["all"]["accused"]["value"] == pytest.approx(1 / 3)
    assert found["clean"]["stripped"]["taken_for"] == {"motion": 1}
    assert found["harmless"]["all"]["changed"]["value"] == pytest.approx(1 / 3)
    assert found["local"]["blur"]["own_auc"]["value"] == pytest.approx(0.9)
    assert found["uncovered"]["all"]["fall"]["value"] == pytest.approx(0.3)
    assert found["uncovered"]["all"]["accused"]["value"] == 1
    assert found["dice"]["clean"]["error"]["value"] == pytest.approx(0.1)
    assert found["dice"]["uncovered"]["error"]["value"] == pytest.approx(0.2)
    assert found["volume"]["uncovered"]["value"] == 0 and found["volume"]["kinds"]["value"] == 1
    # At P(none) = 0.7 of two clean heads, and 0.05 of the third and of all that is spoilt.
    ghosting = found["torchio"]["ghosting"]
    assert ghosting["all"]["doubt"]["best"]["value"] == pytest.approx(2 / 3)
    assert set(ghosting) == {"all", "faint", "0.1", "0.5", "1.0"}


def test_one_of_two_that_leave_the_same_trace_is_right_and_counted():
    both = ["ghosting", "wrap"]
    found = [row("a", "kinds", "residue", "wrap", "none", named_causes=both)]
    found.append(row("a", "kinds", "motion", "motion", "none", named_causes=both))
    assert [one.answer for one in found] == ["ghosting or wrap"] * 2 and found[0].accused
    figures = summary.by_kind(found, summary._named)["all"]
    assert figures["right_of_harmful"]["value"] == 0.5 and figures["as_one_of_two"] == 1
    assert figures["taken_for"] == {"ghosting or wrap": 1}


def test_one_screen_and_markdown_say_them(rows):
    found = summary.summary_of(rows)
    text = io.StringIO()
    Console(width=80, file=text).print(tables.screen(found))
    lines = text.getvalue().splitlines()
    assert len(lines) < 55

    def line(what):
        return next(" ".join(one.split()) for one in lines if what in one)

    assert "0.43" in line("harm done: cause right") and "noise 3" in line("  spike")
    assert "motion 1" in line("clean stripped") and "0.33" in line("harmless step")
    assert "0.90 (0.90 to 0.90)" in line("AUC of own map")
    assert "predicted 0.80" in line("Dice reached, clean") and "0.67" in line("TorchIO ghosting")
    text = tables.markdown(found, rows)
    assert "| spike | 0.00 (0.00 to 0.71), n = 3 |" in text
    assert "### TorchIO's transforms: Youden's index" in text and "nan" not in text
    widths = {one.count("|") for one in text.split("### Heads as they are")[1].splitlines()[2:6]}
    assert len(widths) == 1


def test_clean_heads_alone_have_figures_too(rows):
    found = summary.summary_of([one for one in rows if one.group == "clean"])
    assert set(found) == {"clean", "dice", "decisions", "volume"}
    assert list(found["decisions"]["done"]) == ["clean"]
    assert tables.markdown(found, rows) and tables.screen(found).row_count
