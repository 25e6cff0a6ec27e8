"""The statistics behind the evidence, and one small run of it."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from experiments import build, trials
from experiments.acquired import Head
from experiments.evidence import __main__ as evidence
from experiments.evidence import intervals, iqms, measuring, scanned, simulator, tables
from qc_jax import augment
from qc_jax.models import load_model


def test_intervals_hold_the_truth_of_a_known_mean():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        values = rng.standard_normal(30)
        found = intervals.bootstrap(np.mean, [str(i) for i in range(30)], values, draws=200)
        held += found["low"] <= 0 <= found["high"]
    assert 85 <= held <= 100


def test_what_is_defined_for_no_draw_has_no_interval():
    found = intervals.bootstrap(intervals.auc, ["a", "b"], [False, False], [0.1, 0.2], draws=20)
    assert all(np.isnan(found[name]) for name in ("value", "low", "high")) and found["n"] == 2
    found = intervals.bootstrap(np.mean, [], [])
    assert all(np.isnan(found[name]) for name in ("value", "low", "high")) and found["n"] == 0


def test_subjects_are_drawn_with_all_their_scans():
    """Two subjects of opposite value: the mean of a draw is one of three, however many scans."""
    subjects, values = ["a"] * 50 + ["b"] * 50, [0.0] * 50 + [1.0] * 50
    found = intervals.bootstrap(np.mean, subjects, values)
    assert (found["low"], found["value"], found["high"]) == (0, 0.5, 1)
    assert found["n"] == 100 and found["subjects"] == 2


def test_rank_statistics_against_scikit_learn_and_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 20, (2, 200)).astype(float)  # with ties
    bad = rng.random(200) < 0.3
    assert intervals.auc(bad, a) == pytest.approx(metrics.roc_auc_score(bad, a))
    assert intervals.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan(intervals.auc(bad[bad], a[bad])) and np.isnan(intervals.spearman(a, 0 * b))


def test_youden_of_two_normal_distributions():
    """Shifted by d, the best threshold reaches 2 Phi(d / 2) - 1."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.standard_normal(20000), 1.5 + rng.standard_normal(20000)])
    bad = np.repeat([False, True], 20000)
    assert intervals.youden(bad, scores) == pytest.approx(2 * stats.norm.cdf(0.75) - 1, abs=0.02)


def test_snr_and_cnr_of_known_tissues():
    rng = np.random.default_rng(0)
    image = np.zeros((30, 30, 30))
    grey, white, air = (np.zeros(image.shape, bool) for _ in range(3))
    grey[:10], white[10:20], air[20:] = True, True, True
    for mask, mean, deviation in ((grey, 60, 3), (white, 100, 4), (air, 0, 2)):
        image[mask] = mean + deviation * rng.standard_normal(mask.sum())
    assert iqms.snr(image, white) == pytest.approx(100 / 4, rel=0.03)
    assert iqms.cnr(image, grey, white, air) == pytest.approx(40 / np.sqrt(9 + 16 + 4), rel=0.03)


def test_entropy_focus_criterion_at_its_ends():
    assert iqms.efc(np.ones((8, 8, 8))) == pytest.approx(1)
    single = np.zeros((8, 8, 8))
    single[3, 3, 3] = 5
    assert iqms.efc(single) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def small_run(model_path, tmp_path_factory):
    """Folder of the evidence on three heads, two contrasts each."""
    folder = tmp_path_factory.mktemp("evidence")
    arguments = ["--model", str(model_path), "--subjects", "3", "--draws", "2"]
    options = ["--torchio-draws", "0", "--output-dir", str(folder)]
    assert evidence.main(arguments + options) == 0
    return folder


def test_a_small_run_of_everything(small_run):
    found = json.loads((small_run / "evidence.json").read_text())
    for entry in (
        found["decoupling"]["blur"]["blur"],
        found["severity_spearman"]["noise"],
        *(found["quality_spearman"][n] for n in ("ours", "softmax_entropy", "snr", "cnr", "efc")),
        found["coverage"]["before"],
        found["coverage"]["after"],
    ):
        assert {"value", "low", "high", "n"} <= set(entry)
    assert len(list(small_run.glob("*.png"))) == 6
    assert set(found["cause"]) == {"all", *found["detected"]}
    assert found["cause"]["all"]["n"] == sum(
        found["cause"][kind]["n"] for kind in found["detected"]
    )


def test_evidence_that_was_cut_goes_on_with_the_same_numbers(small_run, model_path):
    model = load_model(model_path)
    subjects = build.heads_for(model.description, "", 3, 1)
    (folder,) = (small_run / "trials").iterdir()
    contents = {path: path.read_text() for path in folder.iterdir()}
    assert len(contents) == 3 * 2
    lost = folder / f"{subjects[1].name}-1-of-2.json"
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    found = measuring.simulated(
        model, subjects, augment.ALL_SOURCES, 2, 1, folder, lambda number: None
    )
    assert len(found) == 3 * 2 * (2 + len(augment.ALL_SOURCES))
    assert {path: path.read_text() for path in folder.iterdir()} == contents
    assert all(path.stat().st_mtime_ns == at for path, at in times.items())


def test_scanned_heads_are_drawn_once(model_path, tmp_path):
    model = load_model(model_path)
    subject, *_ = build.heads_for(model.description, "", 3, 1)
    head = Head("someone", subject.fractions, None, np.diag([4.0, 4.0, 4.0, 1.0]))
    done = []
    rows = scanned.simulated(model, [head], 1, 1, tmp_path, done.append)
    assert done == [len(rows)] == [2 + len(model.description.sources)]
    assert rows[0].artefact is None and "border noise" in rows[0].seen
    assert scanned.simulated(model, [head], 1, 1, tmp_path, done.append) == rows


def test_what_scanned_heads_need_is_said(model_path, capsys):
    assert evidence.main(["--model", str(model_path), "--scanned"]) == 2
    assert "--data=labels:DIR" in capsys.readouterr().err


def test_torchios_artefacts_have_a_table_without_the_other_evidence():
    indices = [{"severity": at / 10, "value": at / 20} for at in range(1, 11)]
    entry = {"spearman": {"value": 0.5, "low": 0.4, "high": 0.6}, "youden": indices}
    (table,) = tables.all_tables({"torchio": {"blur": entry, "noise": entry}})
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == [f"{at / 10:.1f}" for at in range(1, 11)] + ["Spearman"]
    assert columns[1][3] == "0.20" and columns[2][-1] == "0.50 (0.40 to 0.60)"


def trial(subject, artefact, severity, score):
    fractions = {artefact: severity} if artefact else {}
    numbers = dict(expected_dice=0.8, volume=1.0, volume_uncertainty=0.1, clean_volume=1.0)
    scores = {"scores": [1.0, score], "local_scores": [1.0, score]}
    known = {"subject": subject, "draw": 0, "artefact": artefact, "fractions": fractions}
    return trials.Row(dice=None, kept_dice=1.0, seen={}, **numbers, **scores, **known)


def test_another_simulator_is_judged_severity_by_severity():
    """Of a score that follows the severity from 0.4 on."""
    rows = [trial(subject, None, 0.0, 0.3) for subject in "abc"]
    for at in simulator.SEVERITIES.tolist():
        rows += [trial(subject, "blur", at, 0.4 if at > 0.35 else 0.2) for subject in "abc"]
    found = simulator.of_table(trials.table(rows, ("task", "blur")), ["blur"])["blur"]
    assert [entry["value"] for entry in found["youden"]] == [0.0] * 3 + [1.0] * 7
    assert found["spearman"]["value"] == pytest.approx(np.sqrt(3 * 7 / 33))


def test_evidence_says_what_is_missing(tmp_path, capsys):
    assert evidence.main(["--model", str(tmp_path / "no.safetensors"), "--torchio-draws", "0"]) == 3
    assert "missing" in capsys.readouterr().err
