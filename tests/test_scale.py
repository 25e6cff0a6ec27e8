"""Axes and ranges that are the same for every scan, and where they begin."""

import numpy as np
import pytest

from qc_jax import uncertainty
from qc_jax.scoring import scale

CALIBRATION = {
    "reference": {"task": [0.1], "blur": [0.01], "wrap": [0.01]},
    "log_mean": [0.0, 0.0, 0.0, 0.0, np.log(0.02), np.log(0.02)],
    "log_scale": [1.0, 1.0, 1.0, 1.0, 0.5, 0.5],
    "severity": {
        "blur": {"standard_scores": [0.0, 1.0, 3.0], "fractions": [0.1, 0.5, 0.7]},
        "wrap": {"standard_scores": [0.0, 0.5], "fractions": [0.5, 0.5]},
    },
}
"""Clean scans are at the floor, which blur leaves far behind and wrap-around does not."""


def test_decades_of_a_score_are_evenly_spaced():
    places = scale.SCORE.positions([0.1, 1.0, 10.0])
    assert np.diff(places) == pytest.approx(places[2] - places[1])
    assert scale.SCORE.labels()[0] == (0.0, "≤ 0.02") and scale.SCORE.labels()[-1][1] == "≥ 10"


def test_what_lies_beyond_an_axis_is_at_its_end():
    assert scale.SCORE.positions([0.0, 0.01, 50.0]).tolist() == pytest.approx([0, 0, 100])
    assert scale.DICE.positions([0.1, 0.7]).tolist() == pytest.approx([0.0, 50.0])
    assert scale.DICE.labels()[-1] == (100.0, "1")  # no Dice coefficient is beyond it


def test_each_column_has_its_axis():
    assert scale.axis_of("score_blur") is scale.SCORE
    assert scale.axis_of("predicted_dice") is scale.DICE
    assert scale.axis_of("grey_matter_volume_ml") is scale.VOLUME


def test_a_source_is_found_in_the_head_or_in_a_part_of_it():
    record = {
        "scores": {"task": 0.0, "blur": 0.01, "wrap": 0.01, "noise": 0.03},
        "local_scores": {"task": 0.0, "blur": 0.0105, "wrap": 0.04, "noise": 0.05},
    }
    assert [scale.found(record, name) for name in record["scores"]] == [True, False, True, True]
    assert not scale.has_percentile(record, "wrap") and scale.has_percentile(record, "noise")
    assert scale.has_percentile(record, "task")
    del record["local_scores"]  # as before version 0.10
    assert not scale.found(record, "wrap")


def test_a_range_ends_where_severe_begins():
    colours = scale.range_of("blur", CALIBRATION)
    # The standard score 3, taken back to a variance as `calibration` made it of one.
    assert colours.high == pytest.approx(
        0.02 * np.exp(0.5 * np.sinh(3)) - uncertainty.VARIANCE_FLOOR
    )
    assert colours.low == scale.LIMIT and colours.at_high == "severe"
    shares = colours.shares(np.array([0.0, scale.LIMIT, np.sqrt(scale.LIMIT * colours.high), 99.0]))
    np.testing.assert_allclose(shares, [0, 0, 0.5, 1], atol=1e-12)
    assert colours.labels()[0] == (0.0, "0.02 not found")


def test_a_source_that_is_never_severe_has_no_such_word():
    colours = scale.range_of("wrap", CALIBRATION)
    assert colours.high == 5 * scale.LIMIT and colours.at_high == ""


def test_task_total_and_models_without_calibration():
    assert scale.range_of("task", CALIBRATION) == (scale.LIMIT, 1.0, "", "")
    assert scale.range_of("total", CALIBRATION).low == 3 * scale.LIMIT  # of three variances
    assert scale.range_of("blur", {}) == (scale.LIMIT, 1.0, scale.AT_LIMIT, "")
