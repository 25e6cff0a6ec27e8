"""Which scans of a BIDS folder are scored: all that are wanted, and what is not is said."""

import json

import pytest

from qc_jax.errors import ConfigError
from qc_jax.scoring import bids


@pytest.fixture
def put(tmp_path):
    """Makes empty files: nothing is opened before it is scored."""

    def make(*names, content=""):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


def listed(folder, **wanted):
    found = bids.list_scans(folder, bids.Selection(**wanted))
    return [job.name for job in found.jobs], "\n".join(found.notes)


def test_nothing_is_left_out_in_silence(put):
    folder = put(
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/._sub-01_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_part-mag_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_part-phase_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_part-imag_T1w.nii.gz",
        "sub-03/anat/sub-03_T1w.NII",
        "sub-04/anat/sub-04_run-1_T1w.nii.gz",
        "sub-04/anat/sub-04_run-2_T1w.nii.gz",
        "sub-05/anat/sub-05_inv-1_MP2RAGE.nii.gz",
        "sub-05/anat/sub-05_UNIT1.nii.gz",
        "sub-06/anat/sub-06_T1w.nii.gz",
        "sub-06/ses-2/anat/sub-06_ses-2_T1w.nii.gz",
        "sub-07/func/sub-07_task-rest_bold.nii.gz",
        "sub-08/anat/sub-08_T1w.mgz",
        "sub-09/sub-09_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
    )
    (folder / ".bidsignore").write_text("# comment\n**/sub-04_run-1_*\n")
    names, notes = listed(folder)
    assert names == [
        "sub-01_T1w",
        "sub-02_ses-1_part-mag_T1w",
        "sub-03_T1w",
        "sub-04_run-2_T1w",
        "sub-06_T1w",
        "sub-06_ses-2_T1w",
    ]
    assert "4 subjects without a T1w image in anat/" in notes
    assert "sub-05 (--suffix MP2RAGE UNIT1 would take what it has)" in notes
    assert "sub-07 (func)" in notes and "sub-09 (sub-09_T1w.nii.gz lies outside of anat/)" in notes
    assert "1 file left out, being no NIfTI (convert them): sub-08_T1w.mgz" in notes
    assert "2 images left out, being phase" in notes and "part-imag" in notes
    assert "1 image left out by .bidsignore: sub-04/anat/sub-04_run-1_T1w.nii.gz" in notes
    assert "1 file left out, being hidden: ._sub-01_T1w.nii.gz" in notes


def test_a_usual_folder_has_no_notes(put):
    assert listed(put("sub-1/anat/sub-1_T1w.nii.gz", "README")) == (["sub-1_T1w"], "")


def test_the_error_of_a_folder_without_t1w_names_what_is_there(put):
    folder = put("sub-05/anat/sub-05_UNIT1.nii.gz", "sub-06/dwi/sub-06_dwi.nii.gz")
    with pytest.raises(ConfigError, match=r"--suffix UNIT1 would take.*sub-06 \(dwi\)"):
        listed(folder)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"participants": ["sub-a", "a ", "a"]}, ["sub-a_ses-1_run-01_T1w", "sub-a_ses-2_T1w"]),
        ({"sessions": ["ses-2"]}, ["sub-a_ses-2_T1w"]),
        ({"entities": {"run": ["1"]}}, ["sub-a_ses-1_run-01_T1w"]),
        ({"entities": {"run": [None]}}, ["sub-a_ses-2_T1w", "sub-b_acq-X_T1w"]),
        ({"entities": {"acq": ["X", "y"]}}, ["sub-b_acq-X_T1w"]),
        ({"suffixes": ["T2w"]}, ["sub-b_T2w"]),
    ],
)
def test_what_is_wanted(put, wanted, names):
    folder = put(
        "sub-a/ses-1/anat/sub-a_ses-1_run-01_T1w.nii.gz",
        "sub-a/ses-2/anat/sub-a_ses-2_T1w.nii.gz",
        "sub-b/anat/sub-b_acq-X_T1w.nii.gz",
        "sub-b/anat/sub-b_T2w.nii.gz",
    )
    assert listed(folder, **wanted)[0] == names


def test_a_filter_file_as_fmriprep_takes_it(put, tmp_path):
    folder = put("sub-a/anat/sub-a_acq-1_T1w.nii.gz", "sub-a/anat/sub-a_run-2_T1w.nii.gz")
    path = tmp_path / "filter.json"
    for query, names in (
        ({"acquisition": None, "datatype": "anat", "suffix": "T1w"}, ["sub-a_run-2_T1w"]),
        ({"run": 2}, ["sub-a_run-2_T1w"]),
        ({"acquisition": ["1", "9"], "run": "Query.NONE"}, ["sub-a_acq-1_T1w"]),
        ({"acquisition": "*"}, ["sub-a_acq-1_T1w", "sub-a_run-2_T1w"]),
    ):
        path.write_text(json.dumps({"t1w": query, "bold": {"task": "rest"}}))
        wanted = bids.selection((), (), ("T1w",), {}, path)
        assert [job.name for job in bids.list_scans(folder, wanted).jobs] == names
    path.write_text('{"bold": {"task": "rest"}}')  # says nothing of T1w images
    assert len(bids.list_scans(folder, bids.selection((), (), ("T1w",), {}, path)).jobs) == 2
    for content, reason in (
        ("{", "no BIDS filter file"),
        ('{"t1w": {"sesion": "1"}}', "sesion is no entity; there are"),
        ('{"t1w": {"suffix": "T2w"}}', "not that of T1w"),
        ('{"t1w": {"run": {"a": 1}}}', "texts, numbers or null"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=reason):
            bids.selection((), (), ("T1w",), {}, path)


def test_names_do_not_depend_on_what_else_is_scored(put):
    folder = put(
        "sub-01/anat/sub-01_T1w.nii",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/anat/T1w.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
        "sub-03/ses-1/anat/sub-03_T1w.nii.gz",  # as well
        "sub-x/anat/sub-x_T1w.nii.gz",
        "sub-X/anat/sub-X_T1w.nii.gz",  # the same where case does not count
        "sub-04/anat/T1w.nii.gz",
        "sub-05/anat/T1w.nii.gz",
    )
    together = {job.scan: job.name for job in bids.bids_jobs(folder)}
    assert len({name.lower() for name in together.values()}) == len(together) == 9
    for subject in ("01", "02", "03", "x", "X", "04", "05"):
        for sessions in ((), ("1",)) if subject == "03" else ((),):
            for job in bids.bids_jobs(folder, [subject], sessions):
                assert job.name == together[job.scan]
                assert job.entities["sub"] == subject
    before = {job.scan: job.name for job in bids.bids_jobs(folder, ["x"])}
    put("sub-x/anat/sub-x_t1w.nii.gz")  # what is put beside it changes no name
    after = {job.scan: job.name for job in bids.bids_jobs(folder, ["x"])}
    assert before == after


def test_what_is_misplaced_or_called_oddly_is_named(put):
    folder = put(
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_t1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_T1w_defaced.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.bz2",
        "sub-01/ses-1/anat/sub-99_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_UNIT1.nii.gz",
        "sub-01/ses-3/func/sub-01_ses-3_bold.nii.gz",
        "Sub-02/anat/sub-02_T1w.nii.gz",
        "sub-03_T1w.nii.gz",
    )
    (folder / "sub-04").symlink_to(folder / "nowhere")
    names, notes = listed(folder)
    assert names == ["sub-01_ses-1_T1w"]
    assert "2 images left out, in the folder of another subject or session" in notes
    assert "sub-99_ses-1_T1w.nii.gz" in notes and "anat/sub-01_ses-2_T1w.nii.gz" in notes
    assert "2 sessions without a T1w image" in notes and "ses-3 (func)" in notes
    assert "sub-01/ses-2 (--suffix UNIT1 would take what it has)" in notes
    assert "2 images left out, called like a T1w" in notes and "T1w.nii.bz2" in notes
    assert "in no folder sub-*: Sub-02, sub-03_T1w.nii.gz, sub-04" in notes


def test_a_choice_that_fits_nothing_is_named(put):
    folder = put("sub-1/ses-1/anat/sub-1_ses-1_run-1_T1w.nii.gz")
    wanted = {"sessions": ["1", "9"], "entities": {"run": ["1", "7"]}, "suffixes": ["T1w", "T2w"]}
    names, notes = listed(folder, **wanted)
    assert len(names) == 1
    assert notes == "no image has run 7\nno image is of ses-9\nno image is a T2w"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_bidsignore_in_other_encodings(put, encoding):
    folder = put("sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    (folder / ".bidsignore").write_text("sub-2/\n", encoding=encoding)
    assert listed(folder)[0] == ["sub-1_T1w"]
    (folder / ".bidsignore").unlink()
    (folder / ".bidsignore").mkdir()
    with pytest.raises(ConfigError, match=r"bidsignore cannot be read"):
        listed(folder)


def test_a_name_of_240_characters_leaves_room(put):
    long = f"sub-01_acq-{'a' * 220}_T1w"
    (job,) = bids.bids_jobs(put(f"sub-01/anat/{long}.nii.gz"))
    assert len(long) == 235 and len(job.prefix) <= 160 and len(job.name) <= 160
    (other,) = bids.bids_jobs(put(f"sub-02/anat/{long.replace('sub-01', 'sub-02')}.nii.gz"), ["02"])
    assert other.name != job.name


def test_a_hundred_thousand_subjects_are_looked_up_and_not_searched(put, monkeypatch):
    """Each folder is opened so often, whoever else there is."""
    folder = put(*(f"sub-{i:03d}/anat/sub-{i:03d}_T1w.nii.gz" for i in range(200)))
    opened = []
    scandir = bids.os.scandir
    monkeypatch.setattr(bids.os, "scandir", lambda path: opened.append(path) or scandir(path))
    assert len(bids.bids_jobs(folder, [f"{i:03d}" for i in range(200)])) == 200
    assert len(opened) == 1 + 3 * 200


def test_folders_that_are_none(put, tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        bids.bids_jobs(tmp_path / "none")
    with pytest.raises(ConfigError, match="is it a BIDS folder"):
        bids.bids_jobs(put("x/y"))
    with pytest.raises(ConfigError, match=r"holds no sub-2; there are sub-1"):
        bids.bids_jobs(put("sub-1/anat/sub-1_T1w.nii"), ["2"])
