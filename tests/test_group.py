"""The group level: table, report at any size, participants, MRIQC's metrics."""

import hashlib
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from experiments.benchmarks import study
from qc_jax.errors import ConfigError
from qc_jax.scoring import group, group_report, iqms
from qc_jax.scoring.decision import Rule


@pytest.fixture
def records():
    """Ten scans, the last of them refused, the first far out."""
    made = [
        study.generated(np.random.default_rng(0), index, refused=index == 9) for index in range(10)
    ]
    made[0]["scores"]["blur"] = 50.0
    return made


def test_the_parquet_table_holds_what_the_tsv_holds(records, tmp_path):
    assert group.write_group(tmp_path, records) == [tmp_path / "group_T1w.html"]
    typed = pd.DataFrame(pl.read_parquet(tmp_path / "group_T1w.parquet").to_dict(as_series=False))
    text = pd.read_csv(tmp_path / "group_T1w.tsv", sep="\t")
    assert list(typed.columns) == list(text.columns) and len(typed) == len(text) == 10
    np.testing.assert_allclose(typed["score_blur"], text["score_blur"], rtol=1e-5)
    assert typed["score_blur"].isna().sum() == 1
    dictionary = json.loads((tmp_path / "group_T1w.json").read_text())
    assert set(dictionary) == set(typed.columns)


def test_text_is_no_formula_and_no_new_line(records, tmp_path):
    records[0]["warnings"] = ["=cmd|' /C calc'!A0\n\tnext"]
    records[1]["file"] = "\udcff.nii"
    group.write_group(tmp_path, records)
    table = pd.read_csv(tmp_path / "group_T1w.tsv", sep="\t", quoting=3)
    assert len(table) == 10 and table["warnings"][0] == "'=cmd|' /C calc'!A0 next"
    assert table["file"][1] == r"\udcff.nii"


def test_contrasts_have_tables_of_their_own(records, tmp_path):
    for record in records[:4]:
        record["suffix"] = "T2w"
    reports = group.write_group(tmp_path, records)
    assert [path.name for path in reports] == ["group_T1w.html", "group_T2w.html"]
    assert pl.read_parquet(tmp_path / "group_T2w.parquet").height == 4


def test_participants_are_joined_by_subject(records, tmp_path):
    (tmp_path / "participants.tsv").write_text(
        f"participant_id\tage\tsite\nsub-{records[2]['entities']['sub']}\t63\tLondon\nsub-x\tn/a\tn/a\n"
    )
    joined = group.table(records, group.read_participants(tmp_path))
    assert joined["participant_site"].to_list() == 3 * ["London"] + 7 * [None]
    assert joined["name"].to_list() == [record["name"] for record in records]
    assert group.read_participants(tmp_path / "none") is None


def test_the_rule_of_the_study_decides_on_every_scan(records, tmp_path):
    for record, dice in zip(records, (0.9, 0.8, 0.7), strict=False):
        record["predicted_dice"] = dice
    records[3] |= {"predicted_dice": 0.9, "cause_named": False}
    del records[4]["predicted_dice"]  # of a model without calibration
    table = group.table(records)
    assert table["decision"].to_list()[:5] == ["keep", "look", "drop", "look", "look"]
    assert "below 0.75" in table["decision_reason"][2]
    assert "no calibration" in table["decision_reason"][4]
    assert table["decision"][9] == "look" and "refused" in table["decision_reason"][9]
    group.write_group(tmp_path, records, rule=Rule(keep_dice=0.95, drop_dice=0.85))
    written = pd.read_csv(tmp_path / "group_T1w.tsv", sep="\t")
    assert list(written["decision"])[:3] == ["look", "drop", "drop"]
    kept = (written["decision"] == "keep").sum()
    page = (tmp_path / "group_T1w.html").read_text()
    assert f"<b>{kept} keep</b>" in page and "predicted Dice below 0.85" in page


def test_at_the_limit_of_detection_there_is_no_percentile(records):
    """Nor in records of version 0.10, which have one."""
    records[0]["scores"] |= {"noise": 0.011, "motion": 0.011}
    records[0]["local_scores"] = records[0]["scores"] | {"motion": 0.5}  # in a part of the head
    table = group.table(records)
    assert table["percentile_noise"][0] is None and table["percentile_noise"][1] is not None
    assert table["percentile_motion"][0] is None
    assert table["score_noise"][0] == 0.011


def test_a_score_is_at_the_same_place_in_every_study(records):
    def plotted(some):
        column = group.table(some).select("name", "score_noise").drop_nulls()
        plot = group_report._plot("score_noise", column)
        return {point["name"]: point["x"] for point in plot["points"]}

    few, all_of_them = plotted(records[:3]), plotted(records)
    assert few == {name: all_of_them[name] for name in few}


def test_a_table_takes_the_rule_of_the_last_call_for_all_of_its_rows(records, tmp_path):
    for number, record in enumerate(records[:2]):
        name = f"scan_{number:08x}"
        record |= {"name": name, "folder": name, "entities": {}, "predicted_dice": 0.8}
        put(tmp_path, record)
        group.update_group(tmp_path, [record], Rule(drop_dice=0.75 + 0.07 * number))
    assert pl.read_parquet(tmp_path / "group_T1w.parquet")["decision"].to_list() == ["drop"] * 2


def test_an_odd_table_of_participants_never_costs_the_report(records, tmp_path):
    (tmp_path / "participants.tsv").write_text('participant_id\tdelta\n000000\t-5\n"\t1\n')
    read = group.read_participants(tmp_path)
    assert group.write_group(tmp_path, records, read) == [tmp_path / "group_T1w.html"]
    table = pd.read_csv(tmp_path / "group_T1w.tsv", sep="\t")
    assert table["participant_delta"].dropna().to_list() == [-5.0] * 3
    assert "\t-5\t" in (tmp_path / "group_T1w.tsv").read_text()
    assert "no row for sub-000001" in (tmp_path / "group_T1w.html").read_text()
    assert any("no row for sub-000001" in text for text in group.warnings(records, read))


def test_a_table_joins_those_of_bids(records, tmp_path):
    records[0]["entities"]["run"] = "2"
    records[0]["acquisition"] = {"Manufacturer": "Acme", "EchoTime": 0.003, "PatientName": "A"}
    records[1]["acquisition"] = {"EchoTime": "long"}
    group.write_group(tmp_path, records)
    table = pd.read_csv(tmp_path / "group_T1w.tsv", sep="\t")
    assert list(table["participant_id"])[:4] == 3 * ["sub-000000"] + ["sub-000001"]
    assert list(table["session_id"])[:3] == ["ses-1", "ses-2", "ses-3"] and table["run"][0] == 2
    assert table["Manufacturer"][0] == "Acme" and table["EchoTime"][0] == 0.003
    assert pd.isna(table["EchoTime"][1]) and "PatientName" not in table
    dictionary = json.loads((tmp_path / "group_T1w.json").read_text())
    assert dictionary["EchoTime"]["Units"] == "s"


def test_a_column_id_of_the_participants_is_not_the_tables_own(records, tmp_path):
    (tmp_path / "participants.tsv").write_text("participant_id\tid\nsub-000000\tx7\n")
    joined = group.table(records, group.read_participants(tmp_path))
    assert joined["participant_id"][0] == "sub-000000"
    assert joined["participant_other_id"].to_list()[:4] == ["x7"] * 3 + [None]


def test_models_versions_and_scans_that_are_gone_are_named(records, tmp_path):
    records[0] |= {"model": "mine", "model_sha256": "f" * 64}
    records[1] |= {"version": "0.1.0", "file": str(tmp_path)}
    table = group.table(records)
    assert table["model"].to_list()[:2] == ["mine ffffffff", "student 00000000"]
    assert table["file_now"].to_list()[:3] == ["gone", "there", "gone"]
    said = "\n".join(group.notices(table))
    assert "2 models" in said and "mine ffffffff (1), student 00000000 (9)" in said
    assert "2 versions of qc_jax" in said and "9 of 10 scans are not where" in said
    group.write_group(tmp_path, records)
    page = (tmp_path / "group_T1w.html").read_text()
    assert page.index("Scored with 2 models") < page.index("Distributions")
    assert group.notices(group.table([records[1]])) == []


def test_the_group_level_takes_what_is_chosen(records):
    records[3]["suffix"] = "T2w"
    assert len(group.chosen(records)) == 10
    assert {r["entities"]["sub"] for r in group.chosen(records, ["sub-000001"])} == {"000001"}
    assert len(group.chosen(records, sessions=["ses-1"])) == 4
    assert len(group.chosen(records, suffixes=["T2w"])) == 1
    with pytest.raises(ConfigError, match="no scan of sub-x was scored"):
        group.chosen(records, ["x", "000001"])
    with pytest.raises(ConfigError, match="fits"):
        group.chosen(records, ["000000"], ["9"])


def test_a_large_study_is_counted_and_not_drawn_scan_by_scan(tmp_path):
    rng = np.random.default_rng(0)
    made = [study.generated(rng, index, refused=index % 100 == 0) for index in range(5000)]
    made[7]["predicted_dice"] = 0.01
    group.write_group(tmp_path, made)
    page = (tmp_path / "group_T1w.html").read_text()
    assert len(page) < 3e6 and page.count('<rect class="count"') > 100
    assert f'href="{made[7]["name"]}.html"' in page and "predicted worst" in page
    assert pl.read_parquet(tmp_path / "group_T1w.parquet").height == 5000


def put(folder, record, text=None):
    path = folder / record["folder"] / f"{record['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record) if text is None else text)


def test_records_are_found_beside_sidecars_and_broken_files(records, tmp_path):
    for record in records:
        put(tmp_path, record)
    backup = records[0] | {"grey_matter_volume_ml": 1.0}
    put(tmp_path / "a_backup", backup)
    put(tmp_path / "z_backup", backup)
    assert group.read_records(tmp_path)[0] == records[0]
    (tmp_path / "map.nii.gz").write_bytes(b"")
    (tmp_path / "map.json").write_text(json.dumps(records[0] | {"name": "sidecar"}))
    (tmp_path / "broken.json").write_text("{")
    assert [r["name"] for r in group.read_records(tmp_path)] == [r["name"] for r in records]


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "../../elsewhere"},
        {"folder": "/elsewhere"},
        {"name": "../evil"},
        {"name": 7},
        {"entities": ["sub"]},
        {"entities": {"sub": 1}},
        {"scores": {"task": "high"}},
        {"scores": None},
        {"cause_named": "yes"},
        {"warnings": "none"},
        {"status": "done"},
        {"suffix": "../T1w"},
        {"predicted_dice": "good"},
        {"grey_matter_volume_ml": 10**400},
        {"entities": {"sub": "1", "\udcff": "1"}},
        {"suffix": "T" * 300},
    ],
)
def test_a_foreign_or_changed_record_is_passed_over(records, change, tmp_path):
    put(tmp_path, records[0])
    put(tmp_path, records[1], json.dumps(records[1] | change))
    (tmp_path / "list.json").write_text('[{"status": "scored"}]')
    (tmp_path / "other.json").write_text('{"status": "scored", "name": "of another tool"}')
    assert [r["name"] for r in group.read_records(tmp_path)] == [records[0]["name"]]


def test_a_subject_that_is_a_link_is_read(records, tmp_path):
    put(tmp_path / "elsewhere", records[0])
    (tmp_path / "out").mkdir()
    subject = records[0]["folder"].partition("/")[0]
    (tmp_path / "out" / subject).symlink_to(tmp_path / "elsewhere" / subject)
    assert len(group.read_records(tmp_path / "out")) == 1


MRIQC = {
    "bids_meta": ({"modality": str, "subject_id": str}, {"session_id": str, "run_id": str}),
    "provenance": ({"version": str, "md5sum": str, "software": str}, {"settings": dict}),
}
"""Fields that the schema of MRIQC's Web-API requires, and others that it has, with their types
(nipreps/mriqcwebapi at bb592de); `bids_meta` takes any others."""
MRIQC_SIDECAR = {"MagneticFieldStrength": float, "EchoTime": float, "Manufacturer": str}


def test_metrics_as_mriqc_writes_them(records, tmp_path):
    scan = tmp_path / "scan.nii"
    scan.write_bytes(b"voxels")
    records[0] |= {"file": str(scan), "warnings": ["thick slices"]}
    records[0]["entities"]["run"] = "1"
    records[0]["acquisition"] = {
        "MagneticFieldStrength": 3.0,
        "EchoTime": 0.003,
        "Manufacturer": "Acme",
        "matrix": "1x1x1",
    }
    # The others are no longer there, and a file without a hash is none of MRIQC's.
    assert iqms.write_iqms(tmp_path / "iqms", records) == 1
    (path,) = (tmp_path / "iqms").rglob("*.json")
    assert path == tmp_path / "iqms" / records[0]["folder"] / f"{records[0]['name']}.json"
    found = json.loads(path.read_text())
    for part, (required, others) in MRIQC.items():
        assert set(required) <= set(found[part])
        for name, kind in {**required, **others}.items():
            assert type(found[part][name]) is kind, name
    meta = found["bids_meta"]
    assert {name: type(meta[name]) for name in MRIQC_SIDECAR} == MRIQC_SIDECAR
    assert (meta["subject_id"], meta["run_id"]) == (records[0]["entities"]["sub"], "1")
    assert "matrix" not in meta
    assert found["provenance"]["md5sum"] == hashlib.md5(b"voxels").hexdigest()
    assert found["provenance"]["warnings"] == {"thick slices": True}
    numbers = {k: v for k, v in found.items() if k not in MRIQC}
    assert numbers["qcjax_score_blur"] == 50.0
    assert all(isinstance(value, float) for value in numbers.values())


def test_scans_are_grouped_by_whatever_a_study_says_of_people(records):
    """But by nothing that is another one of each."""
    frame = group.table(records).with_columns(
        participant_city=pl.Series([f"city {max(i, 1)}" for i in range(len(records))]),
        participant_code=pl.Series([f"code {i}" for i in range(len(records))]),
        rec=pl.Series([f"rec {max(i, 1)}" for i in range(len(records))]),
    )
    columns = {name: group.describe(name) for name in frame.columns}
    page = group_report.page(frame, columns, "group_T1w.tsv", Rule())
    assert '<option value="participant_city">' in page
    assert '<option value="participant_code">' not in page and '<option value="rec">' not in page
