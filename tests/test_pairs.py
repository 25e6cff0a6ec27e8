"""Folders of images and labels as people have them: what belongs together, and what is grey."""

import json
import os
import re

import nibabel as nib
import numpy as np
import pytest

from qc_jax import data
from qc_jax.data import label_maps, label_numbers, names, pairs
from qc_jax.errors import ConfigError

CSF, GM, WM = 0.2, 0.5, 0.9
"""How bright each is in the images of this file."""


def tissues():
    """`(30, 30, 30)` of 5 mm: 0 air, 1 fluid, 2 grey matter, 3 white matter."""
    distance = np.linalg.norm(np.indices((30, 30, 30)) - 14.5, axis=0)
    return np.select([distance < 8, distance < 11, distance < 13], [3, 2, 1], 0)


BIDS, FAST = (0, 3, 1, 2), (0, 1, 2, 3)
"""Numbers of air, fluid, grey and white matter."""


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([5.0, 5.0, 5.0, 1.0])), path)
    return path


def image(shift=0.0):
    return np.choose(tissues(), [0.0, CSF, GM, WM]).astype(np.float32) + np.float32(shift)


def labels(numbers=(0, 0, 1, 0)):
    return np.array(numbers, np.int16)[tissues()]


def put(folder, scan, label, numbers=(0, 0, 1, 0), subjects=("01", "02", "03")):
    for s in subjects:
        save(folder / f"{scan.format(s=s)}.nii.gz", image())
        save(folder / f"{label.format(s=s)}.nii.gz", labels(numbers))


def grey(folder, **options):
    """Grey matter of the first pair, and where it should be."""
    scan, label = next(iter(pairs.find_pairs(folder).values()))
    return pairs.read_labelled(scan, label, **options)[1], tissues() == 2


BIDS_SCAN = "sub-{s}/anat/sub-{s}_T1w"
BELOW = "derivatives/seg/sub-{s}/anat/sub-{s}_dseg"


# -- What the numbers mean ---------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [BIDS, FAST, (0, 0, 2, 3), (0, 0, 1, 2), (0, 5, 4, 6)])
@pytest.mark.parametrize("name", [BELOW, "sub-{s}/anat/sub-{s}_T1w_seg"])
def test_numbers_that_can_be_read_in_several_ways_are_refused(tmp_path, numbers, name):
    put(tmp_path, BIDS_SCAN, name, numbers)
    with pytest.raises(ConfigError, match=r"sub-01.*numbers 0.*--grey-matter-labels.*dseg\.tsv"):
        grey(tmp_path)
    found, expected = grey(tmp_path, grey_matter_labels=(numbers[2],))
    np.testing.assert_array_equal(found, expected)


TABLES = {
    "names": "index\tname\n{1}\tCerebrospinal Fluid\n{2}\tGray Matter\n{3}\tWhite Matter\n",
    "abbreviations": "index\tname\tabbreviation\n{2}\ta\tGM\n{3}\tb\tWM\n{1}\tc\tCSF\n0\td\tBG\n",
    "mapping": "index\tname\tmapping\n{2}\tx\t1\n{3}\ty\t2\n{1}\tz\t3\n",
    "FreeSurfer's": "index\tname\tcolor\n{1}\tLeft-Lateral-Ventricle\t#1\n"
    "{2}\tctx-lh-insula\t#2\n{3}\tRight-Cerebral-White-Matter\t#3\n0\tUnknown\t#0\n",
    "windows": "\ufeffindex\tname\r\n{1}\tCSF\r\n{2}\tgrey matter\r\n{3}\tWM\r\n\r\n",
}


@pytest.mark.parametrize("numbers", [BIDS, FAST])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "place", ["dseg.tsv", "derivatives/seg/dseg.tsv", BELOW.format(s="01") + ".tsv"]
)
def test_a_look_up_table_says_it(tmp_path, numbers, table, place):
    put(tmp_path, BIDS_SCAN, BELOW, numbers)
    (tmp_path / place).write_text(TABLES[table].format(*numbers), encoding="utf-8", newline="")
    found, expected = grey(tmp_path)
    np.testing.assert_array_equal(found, expected)


def test_the_nearest_table_of_the_same_entities_counts(tmp_path):
    put(tmp_path, BIDS_SCAN, BELOW.replace("_dseg", "_desc-my_dseg"), FAST)
    near = tmp_path / "derivatives/seg"
    (tmp_path / "dseg.tsv").write_text(TABLES["names"].format(*BIDS))
    (near / "desc-other_dseg.tsv").write_text(TABLES["names"].format(*BIDS))
    (near / "desc-my_dseg.tsv").write_text(TABLES["names"].format(*FAST))
    found, expected = grey(tmp_path)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index\tname\n1\tCSF\n2\tGray Matter\n", "does not say what the number 3 is"),
        ("index\tname\n1\tCSF\n2\tGray Matter\n3\tprecentral\n", "the number 3 'precentral'"),
        ("index\tname\n1\tCSF\n2\tGray Matter\n3\tnon-gray matter\n", "'non-gray matter'"),
        ("index\tname\n1\tCSF\n3\tWM\n2\tCerebellum\n", "holds no grey matter"),
        ("index\tname\tabbreviation\n2\tGray Matter\tWM\n", "contradicts itself.*number 2"),
        ("index\tname\n2\tGray Matter\n2\tCSF\n", "two things of the number 2"),
        ("number,name\n1,GM\n", "has the columns number,name"),
        ("index\tname\nx\tGray Matter\n", "'x' in the column index"),
        ("", "has the columns none"),
    ],
)
def test_tables_that_do_not_say_it(tmp_path, text, said):
    put(tmp_path, BIDS_SCAN, BELOW, FAST)
    (tmp_path / "dseg.tsv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        grey(tmp_path)


def test_a_table_that_the_image_contradicts(tmp_path):
    put(tmp_path, BIDS_SCAN, BELOW, FAST)
    (tmp_path / "dseg.tsv").write_text(TABLES["names"].format(*BIDS))
    with pytest.raises(ConfigError, match=r"sub-01_dseg.* does not fit .*fluid 0\.9"):
        grey(tmp_path)


def test_freesurfers_numbers_are_known_and_others_that_look_so_are_not():
    aseg = {0, 2, 3, 4, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28, 41, 42, 43, 46, 47}
    assert label_numbers.is_freesurfer(aseg)
    assert label_numbers.is_freesurfer((aseg - {3, 42}) | {1002, 1035, 2002, 2035, 251})
    assert label_numbers.is_freesurfer((aseg - {3, 42}) | {11101, 12175})
    assert label_numbers.is_freesurfer(aseg | {502, 515, 516})
    for other in (
        {0, 1, 2, 3},
        {0, 2, 3},
        set(range(7)),  # ANTs
        set(range(12)),  # BrainWeb
        set(range(49)),  # Harvard-Oxford
        set(range(117)),  # AAL
        {0, 2001, 2002, 3001, 3002, 4201, 5001, 6001, 7001, 8101, 9001},  # AAL by its own numbers
        {0, 10, 150, 250},  # iSeg
        {0, 10, 11, 12, 13, 16, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58},  # FIRST: no cortex
        aseg | {1},
        aseg | {20000},
    ):
        assert not label_numbers.is_freesurfer(other), other


def test_freesurfers_numbers_of_a_pair(tmp_path):
    put(tmp_path, "{s}", "{s}_seg", (0, 24, 3, 2))
    for path in tmp_path.glob("*_seg.nii.gz"):
        right = labels((0, 24, 42, 41))
        right[:15] = labels((0, 24, 3, 2))[:15]
        right[14, 14, 14] = 1035
        save(path, right)
    found, expected = grey(tmp_path)
    expected[14, 14, 14] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("number", [1, 2, 255])
def test_a_mask_that_is_called_one_of_grey_matter_may_have_any_number(tmp_path, number):
    put(tmp_path, BIDS_SCAN, "sub-{s}/anat/sub-{s}_label-GM_mask", (0, 0, number, 0))
    (tmp_path / "dseg.tsv").write_text(TABLES["names"].format(*FAST))  # is not of masks
    found, expected = grey(tmp_path)
    np.testing.assert_array_equal(found, expected)


def test_a_probability_counts_from_one_half_on_and_a_resampled_map_is_refused(tmp_path):
    put(tmp_path, "{s}", "{s}_label")
    path = tmp_path / "01_label.nii.gz"
    save(path, np.array([0, 0.2, 0.8, 0.3], np.float32)[tissues()])
    found, expected = grey(tmp_path)
    np.testing.assert_array_equal(found, expected)
    save(path, np.array([0, 1.4, 2, 3], np.float32)[tissues()])
    with pytest.raises(ConfigError, match=r"holds 1\.4"):
        grey(tmp_path)


@pytest.mark.parametrize(("wanted", "said"), [((0, 0, 0, 1), ""), ((1, 1, 1, 1), "3375 mL")])
def test_a_head_has_so_much_grey_matter(tmp_path, wanted, said):
    put(tmp_path, "{s}", "{s}_label", wanted)
    if said:
        with pytest.raises(ConfigError, match=rf"01_label.*{said}.*100 to 1500 mL"):
            grey(tmp_path)
    tiny = np.zeros((30, 30, 30), np.int16)
    tiny[14:16, 14:16, 14:16] = 1  # 1 mL: a lesion, say
    save(tmp_path / "01_label.nii.gz", tiny)
    with pytest.raises(ConfigError, match="1 mL of grey matter"):
        grey(tmp_path)


@pytest.mark.parametrize("numbers", [BIDS, FAST])
def test_label_maps_need_freesurfers_numbers(tmp_path, numbers):
    path = save(tmp_path / "a.nii.gz", labels(numbers))
    with pytest.raises(ConfigError, match=r"a\.nii\.gz holds the numbers 0, 1, 2 and 3.*FreeSurf"):
        label_maps.read_label_map(path, 5.0, (30, 30, 30))
    with pytest.raises(ConfigError, match="--grey-matter-labels is for images"):
        data.load_subjects(f"labels:{tmp_path}", 5.0, (30, 30, 30), 0, 0, tmp_path, (2,))


# -- What belongs together ---------------------------------------------------------------------


LAYOUTS = {
    "a folder each": ("p{s}/T1", "p{s}/T1_label"),
    "images and labels in a folder each": ("p{s}/images/T1", "p{s}/labels/T1"),
    "folders in images and labels": ("images/p{s}/T1", "labels/p{s}/T1"),
    "nnU-Net": ("imagesTr/head_{s}_0000", "labelsTr/head_{s}"),
    "sessions": ("sub-{s}/ses-1/anat/sub-{s}_ses-1_T1w", "sub-{s}/ses-1/anat/sub-{s}_ses-1_dseg"),
    "no session in the name": ("sub-{s}/ses-1/anat/sub-{s}_T1w", "sub-{s}/ses-1/anat/sub-{s}_dseg"),
    "derivatives of sessions": (
        "sub-{s}/ses-1/anat/sub-{s}_ses-1_acq-x_T1w",
        "derivatives/a/b/sub-{s}/ses-1/anat/sub-{s}_ses-1_acq-x_label-GM_desc-me_mask",
    ),
    "labels called as the image": ("sub-{s}/anat/sub-{s}_T1w", "sub-{s}/anat/sub-{s}_T1w_dseg"),
    "masks called as the image": (
        "sub-{s}/anat/sub-{s}_T1w",
        "sub-{s}/anat/sub-{s}_T1w_label-GM_mask",
    ),
    "people's folders, no BIDS names": ("sub-{s}/anat/T1", "sub-{s}/anat/T1_label"),
    "BIDS names in images": ("images/sub-{s}_T1w", "labels/sub-{s}"),
    "flat": ("sub-{s}_T1w", "sub-{s}_label"),
    "sub-a_b": ("sub-{s}_b/anat/sub-{s}_b_T1w", "sub-{s}_b/anat/sub-{s}_b_dseg"),
    "sites": ("x/sub-{s}/anat/sub-{s}_T1w", "x/derivatives/q/sub-{s}/anat/sub-{s}_dseg"),
    "magnitude": ("sub-{s}/anat/sub-{s}_part-mag_T1w", "sub-{s}/anat/sub-{s}_dseg"),
    "pre-processed": ("sub-{s}/anat/sub-{s}_desc-preproc_T1w", "sub-{s}/anat/sub-{s}_dseg"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_image_and_labels_are_of_the_same_person(tmp_path, layout):
    scan, label = LAYOUTS[layout]
    put(tmp_path, scan, label)
    found = pairs.find_pairs(tmp_path)
    assert [(str(a.relative_to(tmp_path)), str(b.relative_to(tmp_path))) for a, b in
            found.values()] == [
        (f"{scan.format(s=s)}.nii.gz", f"{label.format(s=s)}.nii.gz") for s in ("01", "02", "03")
    ]  # fmt: skip
    assert len({names.person_of(name) for name in found}) == 3


def test_people_with_equal_names_at_two_sites(tmp_path):
    for site in "xy":
        put(tmp_path / site, BIDS_SCAN, BELOW)
    found = pairs.find_pairs(tmp_path)
    assert len(found) == 6
    for name, (scan, label) in found.items():
        assert scan.relative_to(tmp_path).parts[0] == label.relative_to(tmp_path).parts[0]
        assert name.startswith(scan.relative_to(tmp_path).parts[0])


@pytest.mark.parametrize(
    ("scan", "label"),
    [
        ("p4/T1", "p3/T1_label"),
        ("images/p4/T1", "labels/p3/T1"),
        ("sub-01/anat/sub-01_T1w", "sub-02/anat/sub-02_dseg"),
        ("sub-01/ses-1/anat/sub-01_ses-1_T1w", "derivatives/q/sub-01/anat/sub-01_ses-2_dseg"),
        ("sub-01/ses-1/anat/sub-01_T1w", "derivatives/q/sub-01/ses-2/anat/sub-01_dseg"),
        ("sub-01/anat/sub-01_run-1_T1w", "sub-01/anat/sub-01_run-2_dseg"),
        ("sub-01/anat/sub-01_acq-a_T1w", "sub-01/anat/sub-01_acq-b_dseg"),
        ("x/sub-01/anat/sub-01_T1w", "y/sub-01/anat/sub-01_dseg"),
        ("sub-01/anat/sub-01_T1w", "sub-01/anat/sub-01_space-MNI_dseg"),
        ("imagesTr/a_0000", "labelsTr/b"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, scan, label):
    put(tmp_path, scan, label, subjects=("",))
    with pytest.raises(ConfigError, match=re.escape(f"{scan}.nii.gz has no counterpart")):
        pairs.find_pairs(tmp_path)
    (tmp_path / f"{scan}.nii.gz").unlink()
    save(tmp_path / "sub-09/anat/sub-09_T1w.nii.gz", image())
    with pytest.raises(ConfigError, match="no counterpart"):
        pairs.find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("names_of_two", "what"),
    [
        (("sub-01/anat/sub-01_dseg", "derivatives/q/sub-01/anat/sub-01_dseg"), "labels"),
        (("derivatives/p/sub-01/anat/sub-01_dseg", "derivatives/q/sub-01/anat/sub-01_dseg"),
         "labels"),
        (("sub-01/anat/sub-01_dseg", "sub-01/anat/sub-01_label-GM_mask"), "labels"),
        (("sub-01/anat/sub-01_desc-aseg_dseg", "sub-01/anat/sub-01_dseg"), "labels"),
        (("sub-01/anat/sub-01_desc-a_T1w", "sub-01/anat/sub-01_dseg"), "images"),
    ],
)  # fmt: skip
def test_two_for_one_are_named(tmp_path, names_of_two, what):
    save(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz", image())
    for name in names_of_two:
        save(tmp_path / f"{name}.nii.gz", labels())
    with pytest.raises(ConfigError, match=rf"sub-01\S* and \S*sub-01\S* are both {what} of one"):
        pairs.find_pairs(tmp_path)


def test_two_labels_beside_an_image(tmp_path):
    scan = save(tmp_path / "a_T1w.nii.gz", image())
    assert pairs.label_beside(scan) is None
    one = save(tmp_path / "a_dseg.nii.gz", labels())
    assert pairs.label_beside(scan) == one
    save(tmp_path / "a_T1w_label.nii", labels())
    with pytest.raises(ConfigError, match="are both labels of"):
        pairs.label_beside(scan)


def test_what_else_a_study_holds_is_counted_and_left_out(tmp_path, caplog):
    put(tmp_path, BIDS_SCAN, BELOW)
    for other in (
        "sub-01/anat/sub-01_T2w", "sub-01/anat/sub-01_part-phase_T1w", "sub-01/anat/._sub-01_T1w",
        "sub-01/func/sub-01_task-rest_bold", "sub-01/fmap/sub-01_T1w", "sourcedata/sub-01_T1w",
        "sub-01/anat/sub-01_inv-1_MP2RAGE", "sub-01/dwi/sub-01_dwi", ".git/annex/sub-08_T1w",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-brain_mask",
        "derivatives/fmriprep/sub-01/anat/sub-01_label-GM_probseg",
        "derivatives/fmriprep/sub-01/anat/sub-01_label-WM_mask",
        "derivatives/fmriprep/sub-01/anat/sub-01_space-MNI152NLin2009cAsym_dseg",
        "derivatives/fmriprep/sub-01/func/sub-01_task-rest_space-T1w_desc-aseg_dseg",
    ):  # fmt: skip
        save(tmp_path / f"{other}.nii.gz", image())
    assert list(pairs.find_pairs(tmp_path)) == ["sub-01", "sub-02", "sub-03"]
    for counted in ("1 x T2w", "1 x bold", "1 x part-phase", "2 x mask", "1 x derived image"):
        assert counted in caplog.text
    assert "1 x labels of another space" in caplog.text


def test_linked_folders_are_looked_into_and_circles_end(tmp_path):
    put(tmp_path / "elsewhere", "p{s}/T1", "p{s}/T1_label")
    study = tmp_path / "study"
    study.mkdir()
    for name in ("p01", "p02"):
        (study / name).symlink_to(tmp_path / "elsewhere" / name)
    os.symlink(study, study / "again")
    assert list(pairs.find_pairs(study)) == ["p01/T1", "p02/T1"]


def test_a_file_in_the_folder_of_another_person_is_named(tmp_path):
    put(tmp_path, BIDS_SCAN, BELOW)
    save(tmp_path / "sub-02/anat/sub-07_T1w.nii.gz", image())
    with pytest.raises(
        ConfigError, match=r"sub-07_T1w\.nii\.gz is called sub-07, but lies in sub-"
    ):
        pairs.find_pairs(tmp_path)


def test_three_scans_of_one_person_are_too_few(tmp_path):
    put(tmp_path, "sub-1/ses-{s}/anat/sub-1_ses-{s}_T1w", "sub-1/ses-{s}/anat/sub-1_ses-{s}_dseg")
    with pytest.raises(ConfigError, match="3 subjects, of 1 people; at least 3"):
        data.load_subjects(str(tmp_path), 5.0, (30, 30, 30), 0, 0, tmp_path)


def test_a_label_map_that_was_exchanged_is_not_taken_from_the_cache(tmp_path):
    maps, kept = tmp_path / "maps", tmp_path / "kept"
    for name in "abc":
        content = labels((0, 24, 42, 41))
        content[:15] = labels((0, 24, 3, 2))[:15]
        path = save(maps / f"{name}.nii", content)
    before = data.load_subjects(f"labels:{maps}", 5.0, (30, 30, 30), 0, 0, kept)
    status = path.stat()
    content[:10] = 0
    save(path, content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    after = data.load_subjects(f"labels:{maps}", 5.0, (30, 30, 30), 0, 0, kept)
    same = [a.digest() == b.digest() for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False]


@pytest.mark.parametrize("labels", [{"background": 0, "WM": 1}, {"0": "background", "1": "WM"}])
def test_nnunets_description_says_what_numbers_mean(tmp_path, labels):
    path = tmp_path / "labelsTr" / "a.nii.gz"
    path.parent.mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    numbers = np.array([0, 1])
    with pytest.raises(ConfigError, match="holds no grey matter"):
        label_numbers.tissues_of(path, numbers)
    other = {"labels": {"background": 0, "Gray Matter": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(other))
    assert label_numbers.tissues_of(path, numbers)[1] == label_numbers.GREY_MATTER
    for content in ('{"labels": {"lesion": 1}}', "{", '{"labels": [1]}'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(ConfigError, match=r"dataset\.json"):
            label_numbers.tissues_of(path, numbers)


@pytest.mark.parametrize("row", ["1" * 5000 + "\tGM", "1\t" + "x" * 200_000])
def test_a_table_beyond_all_bounds_is_one_sentence(tmp_path, row):
    path = tmp_path / "dseg.tsv"
    path.write_text(f"index\tname\n{row}\n")
    with pytest.raises(ConfigError, match=r"dseg\.tsv"):
        label_numbers.read_table(path, [1])
