"""Ratings by people: read back, joined to the table, and how far they agree."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from experiments.benchmarks import study
from qc_jax.errors import ConfigError
from qc_jax.scoring import group, group_report, ownership, ratings
from qc_jax.scoring.decision import Rule

HEAD = "name\trating\tcause\tnote\trater\tdate\n"


@pytest.fixture
def records():
    """Ten scans, the last of them refused."""
    rng = np.random.default_rng(0)
    return [study.generated(rng, index, refused=index == 9) for index in range(10)]


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.choice(["keep", "look", "drop"], 30).tolist() for _ in range(2))
    other[:15] = one[:15]
    names = [f"scan-{i}" for i in range(30)]
    of_one, of_other = (dict(zip(names, given, strict=True)) for given in (one, other))
    del of_other["scan-28"], of_other["scan-29"]
    found = ratings.agreement("a", "b", of_one, of_other)
    assert found.number == 28
    assert found.kappa == pytest.approx(cohen_kappa_score(one[:28], other[:28]))
    assert found.share == np.mean(np.array(one[:28]) == np.array(other[:28]))


def test_kappa_of_a_single_rating_is_none():
    same = {"a": "keep", "b": "keep"}
    assert ratings.agreement("x", "y", same, same) == ("x", "y", 2, 1.0, None)
    assert ratings.agreement("x", "y", same, {}).number == 0


def test_what_pages_save_is_read_back(tmp_path):
    folder = tmp_path / ownership.RATINGS
    folder.mkdir()
    (folder / "a.tsv").write_text(
        HEAD + "s1\tkeep\t\t\tAnn B\t2026-01-02\ns1\tdrop\tblur\t'=x\tAnn B\t2026-01-03\n"
        "s2\tgood\t\t\tAnn B\t2026-01-02\n"
    )
    (folder / "b.json").write_text(json.dumps([{"name": "s1", "rating": "look", "rater": ""}]))
    (folder / "broken.json").write_text("{")
    (folder / "other.tsv").write_text("age\n3\n")
    (folder / "notes.txt").write_text("not looked at")
    found = ratings.read(tmp_path)
    assert found.by_rater == {"Ann_B": {"s1": "drop"}, "anonymous": {"s1": "look"}}
    said = "\n".join(found.warnings)
    assert len(found.warnings) == 3 and "broken.json" in said and "for s2" in said
    assert ratings.read(tmp_path / "none", [folder]) == found
    with pytest.raises(ConfigError, match="does not exist"):
        ratings.read(tmp_path, [tmp_path / "gone.tsv"])


def test_the_group_table_has_a_column_for_each_rater_and_the_page_says_how_they_agree(
    records, tmp_path
):
    folder = tmp_path / ownership.RATINGS
    folder.mkdir()
    names = [r["name"] for r in records]
    lines = [f"{name}\tkeep\t\t\tann\t2026\n" for name in names[:5]]
    (folder / "ann.tsv").write_text(HEAD + "".join(lines) + "sub-x_T1w\tdrop\t\t\tann\t2026\n")
    other = tmp_path / "bob.json"
    other.write_text(json.dumps([{"name": names[0], "rating": "drop", "rater": "bob"}]))
    group.write_group(tmp_path, records, rated=[other])
    table = pd.read_csv(tmp_path / "group_T1w.tsv", sep="\t")
    assert list(table["rating_ann"][:6].fillna("")) == ["keep"] * 5 + [""]
    assert table["rating_bob"][0] == "drop"
    page = (tmp_path / "group_T1w.html").read_text()
    for pair in ("qc_jax and ann", "qc_jax and bob", "ann and bob"):
        assert f">{pair}</th>" in page
    assert "sub-x_T1w, which was rated" in page
    described = json.loads((tmp_path / "group_T1w.json").read_text())
    assert described["rating_ann"]["Description"] == "keep, look or drop, as ann rated it"
    group.write_group(tmp_path, records)  # replaces its own table, though it has such columns


def test_the_most_doubtful_come_first_and_refused_ones_not_at_all(records):
    for record in records[:9]:
        record["predicted_dice"] = 0.95
    records[3]["predicted_dice"], records[6]["predicted_dice"] = 0.80, 0.83
    records[5]["predicted_dice"], records[7]["predicted_dice"] = 0.74, 0.3
    order = group_report.most_doubtful_first(group.table(records), Rule())
    assert order[:2] == [6, 3] and order[2] == 5 and len(order) == 9 and 9 not in order
    assert order[-1] == 7


def test_every_scan_of_a_large_study_is_in_the_page(tmp_path):
    rng = np.random.default_rng(0)
    made = [study.generated(rng, index, refused=False) for index in range(3000)]
    group.write_group(tmp_path, made)
    page = (tmp_path / "group_T1w.html").read_text()
    assert all(f'"{record["name"]}"' in page for record in made)
