"""What scores mean: learnt on scans of which the truth is known."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from experiments.faults.tiny import SOURCES, known_scans
from qc_jax import descriptions
from qc_jax.errors import ConfigError
from qc_jax.scoring import calibration


@pytest.fixture(scope="module")
def known():
    return calibration.fit(known_scans(np.random.default_rng(0), draws=100), SOURCES)


def scores_with(source, amount):
    """Medians and high quantiles."""
    logs = np.zeros(1 + len(SOURCES))
    if source:
        logs[1 + SOURCES.index(source)] = amount
    return np.exp(logs), np.exp(logs + 0.5)


@pytest.mark.parametrize("source", SOURCES)
def test_the_cause_is_found_with_its_severity(known, source):
    for amount, word in ((0.9, "mild"), (3.9, "severe")):
        found = calibration.interpret(*scores_with(source, amount), 0.7, known)
        assert next(iter(found.causes)) == source
        called = "wrap-around" if source == "wrap" else source
        assert found.sentence.startswith(f"{called}, {word}")
        assert found.percentiles[source] > 99
    assert sum(found.causes.values()) == pytest.approx(1)


def test_a_single_source_is_told_from_none():
    """Of two classes, scikit-learn keeps the coefficients of one."""
    noise = [0, 1 + SOURCES.index("noise")]
    scans = [
        dataclasses.replace(s, scores=s.scores[noise], local_scores=s.local_scores[noise])
        for s in known_scans(np.random.default_rng(0), draws=100)
        if s.artefact in (None, "noise")
    ]
    known = calibration.fit(scans, ["noise"])
    descriptions.check_calibration(json.loads(json.dumps(known)), ["noise"])
    for log, cause in ((3.9, "noise"), (0.0, "none")):
        found = calibration.interpret(*np.exp([[0.0, log], [0.5, log + 0.5]]), 0.8, known)
        assert next(iter(found.causes)) == cause
        assert sum(found.causes.values()) == pytest.approx(1)


def test_a_network_that_finds_no_grey_matter_has_a_calibration():
    scans = [
        dataclasses.replace(s, volume=0.0, clean_volume=0.0, volume_uncertainty=0.0)
        for s in known_scans(np.random.default_rng(0), draws=40)
    ]
    known = calibration.fit(scans, SOURCES)
    descriptions.check_calibration(json.loads(json.dumps(known)), SOURCES)


def test_a_clean_scan_has_no_cause(known):
    found = calibration.interpret(*scores_with(None, 0), 0.9, known)
    assert found.sentence.startswith("no artefact") and found.predicted_dice > 0.8
    assert 10 < found.percentiles["task"] < 90


def test_the_task_names_no_cause(known):
    """Its variance says how much of the head there is: a stripped one has a low one."""
    medians, high = scores_with("blur", 3.9)
    before = calibration.interpret(medians, high, 0.7, known).causes
    medians[0] *= 100
    assert calibration.interpret(medians, high, 0.7, known).causes == before


def test_what_does_no_harm_is_no_cause():
    scans = [dataclasses.replace(s, kept=0.99) for s in known_scans(np.random.default_rng(0))]
    known = calibration.fit(scans, SOURCES)
    found = calibration.interpret(*scores_with("noise", 2.0), 0.7, known)
    assert next(iter(found.causes)) == "none" and found.causes["none"] > 0.95


def test_damage_to_a_part_of_the_head_is_a_cause():
    """The median stays as it is; the high quantile rises."""
    scans = [
        dataclasses.replace(s, scores=np.ones_like(s.scores))
        for s in known_scans(np.random.default_rng(0), draws=100)
    ]
    known = calibration.fit(scans, SOURCES)
    _, high = scores_with("spike", 3.0)
    found = calibration.interpret(np.ones_like(high), high, 0.7, known)
    assert next(iter(found.causes)) == "spike"


def test_scans_without_labels_say_nothing_of_dice():
    scans = known_scans(np.random.default_rng(0), draws=100)
    blind = [dataclasses.replace(s, dice=float("nan")) if i % 2 else s for i, s in enumerate(scans)]
    known = calibration.fit(blind, SOURCES)
    assert known["dice"]["mean_absolute_error"] < 0.12
    assert known["scans"] == len(scans)


def test_predicted_dice_falls_with_the_artefact(known):
    dices = [
        calibration.interpret(
            *scores_with("blur", amount), 0.9 - 0.1 * amount, known
        ).predicted_dice
        for amount in (0, 1, 2, 3)
    ]
    assert dices == sorted(dices, reverse=True) and dices[0] - dices[-1] > 0.2


def test_quality_of_the_fit_is_that_on_other_subjects(known):
    assert known["cause"]["accuracy"] > 0.8
    assert known["dice"]["mean_absolute_error"] < 0.12
    assert min(entry["spearman"] for entry in known["severity"].values()) > 0.8


def test_pure_chance_is_told_as_such():
    rng = np.random.default_rng(1)
    scans = []
    for scan in known_scans(rng):
        medians, high = np.exp(rng.standard_normal((2, 1 + len(SOURCES))))
        scans.append(dataclasses.replace(scan, scores=medians, local_scores=high))
    known = calibration.fit(scans, SOURCES)
    assert known["cause"]["accuracy"] < 0.35
    sentence = calibration.interpret(*scores_with("blur", 3), 0.5, known).sentence
    assert sentence.startswith("not named") and "blur" not in sentence


def test_scale_of_the_volume_error_bar():
    """Errors are normal with the bar as their standard deviation: 68 % lie within it."""
    rng = np.random.default_rng(0)
    scans = known_scans(rng, draws=700)
    found = calibration.fit_volume(scans)
    assert found["scale"] == pytest.approx(1, abs=0.08)
    assert found["coverage_before"] == pytest.approx(stats.norm.cdf(1) * 2 - 1, abs=0.04)
    halved = [dataclasses.replace(s, volume_uncertainty=s.volume_uncertainty / 2) for s in scans]
    found = calibration.fit_volume(halved)
    assert found["scale"] == pytest.approx(2, abs=0.16)
    assert found["coverage_after"] == pytest.approx(0.683, abs=0.04)


def test_a_calibration_survives_json(known):
    again = json.loads(json.dumps(known))
    scores = scores_with("spike", 2)
    assert calibration.interpret(*scores, 0.6, again) == calibration.interpret(*scores, 0.6, known)


def test_one_subject_is_too_few():
    with pytest.raises(ConfigError, match="two validation subjects"):
        calibration.fit(known_scans(np.random.default_rng(0), subjects=1), SOURCES)


def test_labels_of_one_subject_are_too_few():
    """Scans of others without labels calibrate causes, but not the Dice coefficient."""
    scans = [
        s if s.subject == "sub-0" else dataclasses.replace(s, dice=float("nan"))
        for s in known_scans(np.random.default_rng(0))
    ]
    with pytest.raises(ConfigError, match="labelled scans of at least two"):
        calibration.fit(scans, SOURCES)


def test_every_source_is_needed_to_calibrate():
    scans = [s for s in known_scans(np.random.default_rng(0)) if s.artefact not in ("blur", "wrap")]
    with pytest.raises(ConfigError, match="has blur, wrap alone"):
        calibration.fit(scans, SOURCES)


def test_a_score_that_never_changes_follows_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 30))
    assert calibration.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert calibration.rank_correlation(a, np.zeros(30)) == 0
