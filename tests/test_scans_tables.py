"""Columns for the tables of scans of a data set."""

import json

import numpy as np
import pytest

from experiments.benchmarks import study
from qc_jax.errors import OutputError
from qc_jax.scoring import ownership, scans_tables
from qc_jax.scoring.decision import Rule

HEAD = "filename\tacq_time\tnote\n"


@pytest.fixture
def records():
    """Two scans of a session, one of them refused, one of a person without sessions, and a plain
    file."""
    rng = np.random.default_rng(0)
    made = []
    for number, (place, name) in enumerate(
        (
            ("sub-01/ses-a/anat", "sub-01_ses-a_T1w"),
            ("sub-01/ses-a/anat", "sub-01_ses-a_run-2_T1w"),
            ("sub-02/anat", "sub-02_T1w"),
            ("scan_1a2b3c4d", "scan_1a2b3c4d"),
        )
    ):
        record = study.generated(rng, number, refused=number == 1)
        entities = {"sub": name[4:6]} if name.startswith("sub") else {}
        record |= {"folder": place, "name": name, "entities": entities, "file": f"/x/{name}.nii.gz"}
        made.append(record)
    made[0] |= {"predicted_dice": 0.9, "cause_named": True, "sentence": "a\tb"}
    made[0] |= {"grey_matter_volume_ml": 600.0, "grey_matter_volume_error_ml": 1 / 3}
    return made


def rows_of(path):
    columns, *lines = [line.split("\t") for line in path.read_text().splitlines()]
    return {line[0]: dict(zip(columns, line, strict=True)) for line in lines}


def test_what_the_data_set_says_stays_and_ours_comes_behind(records, tmp_path):
    raw, folder = tmp_path / "raw", tmp_path / "made"
    table = raw / "sub-01" / "ses-a" / "sub-01_ses-a_scans.tsv"
    table.parent.mkdir(parents=True)
    table.write_text(
        HEAD + "anat/sub-01_ses-a_T1w.nii.gz\t2020-01-01\tfine\nfunc/x_bold.nii.gz\tn/a\tn/a\n"
    )
    (raw / "scans.json").write_text('{"note": {"Description": "of ours"}}')
    before = table.read_text()
    scans_tables.check(folder, records)
    assert scans_tables.write(folder, raw, records, Rule()) == []
    made = rows_of(folder / table.relative_to(raw))
    first, bold, second = made.values()
    assert list(made) == [
        "anat/sub-01_ses-a_T1w.nii.gz",
        "func/x_bold.nii.gz",
        "anat/sub-01_ses-a_run-2_T1w.nii.gz",
    ]
    assert (first["acq_time"], first["note"]) == ("2020-01-01", "fine")
    assert first["qcjax_decision"] == "keep" and first["qcjax_cause"] == "a b"
    assert first["qcjax_grey_matter_volume_error_ml"] == "0.333333"
    assert bold["qcjax_decision"] == "n/a"
    assert second["qcjax_decision"] == "look" and second["qcjax_predicted_dice"] == "n/a"
    assert second["acq_time"] == "n/a"
    assert list(rows_of(folder / "sub-02" / "sub-02_scans.tsv")) == ["anat/sub-02_T1w.nii.gz"]
    assert len(list(folder.rglob("*.tsv"))) == 2  # the plain file is in no data set
    described = json.loads((folder / "scans.json").read_text())
    assert described["note"] == {"Description": "of ours"}
    assert set(first) - set(described) == {"filename", "acq_time"}  # which BIDS describes
    assert table.read_text() == before


def test_taken_over_and_made_again_it_is_the_same(records, tmp_path):
    """Columns of an earlier call are replaced, not doubled."""
    raw, folder = tmp_path / "raw", tmp_path / "made"
    scans_tables.write(folder, raw, records, Rule())
    first = {path: path.read_text() for path in folder.rglob("*.*")}
    scans_tables.check(folder, records)
    scans_tables.write(raw, raw, records, Rule())  # as if copied
    scans_tables.write(folder, raw, records, Rule())
    assert {path: path.read_text() for path in folder.rglob("*.*")} == first


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no column filename"),
        ("file\tx\na\tb\n", "no column filename"),
        (HEAD + "a\tb\tc\td\n", "not clear"),
        (HEAD.replace("note", "acq_time"), "not clear"),
        (HEAD + "a\tb\tc\na\tb\tc\n", "two rows"),
    ],
)
def test_a_table_that_cannot_be_read_is_said_and_left(text, why, records, tmp_path):
    (tmp_path / "raw" / "sub-02").mkdir(parents=True)
    (tmp_path / "raw" / "sub-02" / "sub-02_scans.tsv").write_text(text)
    (said,) = scans_tables.write(tmp_path / "made", tmp_path / "raw", records, Rule())
    assert "sub-02_scans.tsv is left as it is" in said and why in said
    assert [p.name for p in (tmp_path / "made").rglob("*.tsv")] == ["sub-01_ses-a_scans.tsv"]


def test_nothing_of_others_is_replaced(records, tmp_path):
    raw = tmp_path / "raw"
    (raw / "sub-02" / "anat").mkdir(parents=True)
    (raw / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"")
    with pytest.raises(OutputError, match="holds scans"):
        scans_tables.check(raw, records)
    (tmp_path / "scans.json").write_text("{}")
    with pytest.raises(OutputError, match="not made by"):
        scans_tables.check(tmp_path, records)
    (raw / "dataset_description.json").write_text('{"Name": "theirs"}')
    with pytest.raises(OutputError, match="belongs to"):
        scans_tables.check(raw, records)
    with pytest.raises(OutputError, match="no scan was scored"):
        scans_tables.write(tmp_path / "made", raw, records[3:], Rule())


def test_a_table_of_ours_is_known_by_its_columns(records, tmp_path):
    scans_tables.write(tmp_path, tmp_path / "none", records, Rule())
    table = tmp_path / "sub-02" / "sub-02_scans.tsv"
    assert ownership.is_ours(table, "scans")
    table.write_text(HEAD)
    assert not ownership.is_ours(table, "scans")
