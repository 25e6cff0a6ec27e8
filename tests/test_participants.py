"""participants.tsv as people export it: the report is written, and the rest is said."""

import pytest

from qc_jax.scoring import participants

SCANS = [("01", None), ("02", None), ("04", "1"), ("06", "2")]
_: None = None  # n/a
HEADER = "participant_id\tage\tnote\n"


def matched(folder, content):
    """The joined columns, by name, and the warnings."""
    encoded = content if isinstance(content, bytes) else content.encode()
    (folder / "participants.tsv").write_bytes(encoded)
    frame, warnings = participants.match(participants.read_participants(folder), SCANS)
    return frame.to_dict(as_series=False), "\n".join(warnings)


@pytest.mark.parametrize(
    ("content", "ages", "warning"),
    [
        (HEADER + "sub-01\t31\tok\nsub-02\t40\tok\n", [31, 40, _, _], "no row for sub-04, sub-06"),
        ("\ufeff" + HEADER.replace("\n", "\r\n") + "sub-01\t31\tok\r\n", [31, _, _, _], ""),
        (HEADER + "sub-01\t31\tok\n\n\t\t\n \t \t \n\n", [31, _, _, _], "no row"),
        (HEADER + "sub-01 \t31\tok\n sub-02\t40\tok\n", [31, 40, _, _], "no row"),
        (HEADER + "1\t31\t\n02\t40\t\n0004\t5\t\n", [31, 40, 5, _], "'0004' is taken for sub-04"),
        (HEADER + "SUB-01\t31\tok\nSub-02\t40\tok\n", [31, 40, _, _], "no row"),
        (HEADER + "sub-01\t31\t5'10\" tall\nsub-02\t40\t6\"\n", [31, 40, _, _], "no row"),
        (HEADER + 'sub-01\t31\t"left handed\nsub-02\t40\tok\n', [31, 40, _, _], "no row"),
        (HEADER + 'sub-01\t"31"\t"left" handed\n', [31, _, _, _], "no row"),
        (HEADER + "sub-01\t31\tok\textra\nsub-02\t40\n", [31, 40, _, _], "line 2 has more cells"),
        (HEADER + "\t31\tok\nsub-02\t40\n", [_, 40, _, _], "line 2 has no participant_id"),
        (HEADER + "sub-01\t31\tok\nsub-09\t3\tok\n", [31, _, _, _], "belongs to the row of 09"),
        ((HEADER + "sub-01\t31\tGröße\n").encode("latin-1"), [31, _, _, _], "not encoded"),
        ((HEADER + "sub-01\t31\tok\n").encode("utf-16"), [31, _, _, _], "UTF-16"),
        ("Participant_ID\tage\nsub-01\t31\n", [31, _, _, _], "'Participant_ID' is taken"),
        ("age\tsubject_id\n31\tsub-01\n", [31, _, _, _], "'subject_id' is taken"),
        ("participant_id,age\nsub-01,31\n", [31, _, _, _], "separated by ','"),
        ("participant_id;age\nsub-01;31\n", [31, _, _, _], "separated by ';'"),
        (HEADER + "sub-01\t31\ta\nsub-01\t31\tb\n", [31, _, _, _], "sub-01 disagree on note"),
    ],
)  # fmt: skip
def test_forms_of_the_table(tmp_path, content, ages, warning):
    columns, warnings = matched(tmp_path, content)
    assert columns["participant_age"] == ages and warning in warnings


def test_a_row_a_session(tmp_path):
    rows = "participant_id\tsession_id\tage\tsex\n"
    rows += "sub-04\tses-1\t31\tF\nsub-04\tses-2\t33\tF\nsub-06\t1\t20\tM\nsub-06\t2\t22\tM\n"
    columns, warnings = matched(tmp_path, rows + "sub-01\tses-1\t5\tF\nsub-01\tses-2\t6\tF\n")
    assert columns["participant_age"] == [None, None, 31, 22]
    assert columns["participant_sex"] == ["F", None, "F", "M"]  # what all rows agree on
    assert "several rows of sub-01 disagree on age" in warnings


def test_columns_of_one_name_and_of_none(tmp_path):
    columns, warnings = matched(tmp_path, "participant_id\tage\tage\t\nsub-01\t31\t32\tx\n")
    assert [columns[f"participant_{n}"][0] for n in ("age", "age_3", "column_4")] == [31, 32, "x"]
    assert "the column 'age' twice" in warnings


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["-5", "3", "n/a", ""], [-5, 3, None, None]),
        (["-5.5", "3", "1e3", "N/A"], [-5.5, 3.0, 1000.0, None]),
        (["007", "8", "9", "1"], ["007", "8", "9", "1"]),
        (["3,5", "-", "+", "=1"], ["3,5", "-", "+", "=1"]),
        (["9" * 30, "1", "1", "1"], [1e30, 1.0, 1.0, 1.0]),
        (["NA", "-", "2", "3"], [None, None, 2, 3]),
        (["NA", "SA", "2", "3"], ["NA", "SA", "2", "3"]),
        (["1e999", "1", "1", "1"], ["1e999", "1", "1", "1"]),
    ],
)
def test_numbers_stay_numbers(tmp_path, cells, values):
    rows = (f"sub-{s}\t{cell}\n" for (s, _), cell in zip(SCANS, cells, strict=True))
    columns, _ = matched(tmp_path, "participant_id\tx\n" + "".join(rows))
    assert columns["participant_x"] == values


def test_a_label_of_5000_digits(tmp_path):
    columns, _ = matched(tmp_path, f"participant_id\tage\n{'1' * 5000}\t3\n1\t4\n")
    assert columns["participant_age"] == [4, None, None, None]


def test_a_label_that_two_people_could_have_is_nobodys(tmp_path):
    (tmp_path / "participants.tsv").write_text("participant_id\tage\n1\t3\n")
    read = participants.read_participants(tmp_path)
    frame, _ = participants.match(read, [("01", None), ("001", None)])
    assert frame["participant_age"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("content", "warning"),
    [("", "is empty"), ("\n\n", "is empty"), ("age\n3\n", "no column participant_id")],
)
def test_what_is_no_table_is_a_warning(tmp_path, content, warning):
    columns, warnings = matched(tmp_path, content)
    assert not columns and warning in warnings


def test_a_table_that_cannot_be_read_is_a_warning(tmp_path):
    assert participants.read_participants(tmp_path) is None
    (tmp_path / "participants.tsv").symlink_to(tmp_path / "nowhere")
    (warning,) = participants.read_participants(tmp_path).warnings
    assert "cannot be read" in warning
    (tmp_path / "participants.tsv").unlink()
    (tmp_path / "participants.tsv").mkdir()
    (warning,) = participants.read_participants(tmp_path).warnings
    assert "cannot be read" in warning
