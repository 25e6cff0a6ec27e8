"""Versions of real heads, and what is said of them."""

import dataclasses
import json

import jax
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics

from experiments.real_heads import (
    __main__,
    heads,
    making,
    measuring,
    plan,
    uncovered,
)
from experiments.real_heads.plan import Version
from qc_jax import augment
from qc_jax.augment import KINDS
from qc_jax.augment.protocol import Axes
from qc_jax.models import load_model
from qc_jax.scoring.conform import to_grid

AFFINE = np.diag([-6.0, 6.0, 6.0, 1.0])  # left to right reversed, as many scanners write it
SOURCES = ("motion", "spike", "noise", "ghosting", "blur", "wrap")


@pytest.fixture(scope="module")
def scan(tmp_path_factory, head):
    path = tmp_path_factory.mktemp("real") / "a.nii.gz"
    nib.save(nib.Nifti1Image(head, AFFINE), path)
    label = ((head > 0.3) & (head < 0.6)).astype(np.uint8)
    nib.save(nib.Nifti1Image(label, AFFINE), path.with_name("a_label.nii.gz"))
    return path


@pytest.fixture(scope="module")
def read(scan):
    return heads.read(scan)


# -- Heads -----------------------------------------------------------------------------------------


def test_labels_turn_with_their_scan(read, head):
    np.testing.assert_allclose(read.image, head[::-1] / head.max(), rtol=1e-6)
    np.testing.assert_array_equal(read.grey_matter, ((head > 0.3) & (head < 0.6))[::-1])
    assert read.affine[0, 0] == 6 and read.voxel_size == (6.0, 6.0, 6.0)


def test_without_labels_no_dice(scan, tmp_path):
    alone = tmp_path / "alone.nii.gz"
    alone.write_bytes(scan.read_bytes())
    assert heads.read(alone).grey_matter is None


def test_a_standardised_scan_keeps_its_dark_tissue(head, tmp_path):
    standardised = (head - head.mean()) / head.std()
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(standardised, AFFINE), path)
    image = heads.read(path).image[::-1]
    assert image.min() == 0 and np.corrcoef(image.ravel(), head.ravel())[0, 1] > 0.999


def test_a_folder_is_its_scans_without_their_labels(scan, tmp_path):
    assert heads.find([scan.parent]) == [scan] == heads.find([scan])
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(heads.ConfigError, match="have one name"):
        heads.find([scan, tmp_path])


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("ds000011_sub-01_T1w", "ds000011_sub-01"),
        ("sub-7_ses-2_T1w", "sub-7"),
        ("bert_T1w", "bert"),
        ("malf1000", "malf1000"),
    ],
)
def test_whose_a_head_is(read, name, person):
    assert read._replace(name=name).person == person


def test_a_brain_is_what_grey_matter_encloses():
    """Of a shell with a hole: the ball, and 3 mm around it."""
    place = np.moveaxis(np.indices((60, 60, 60)), 0, -1) - 29.5
    radius = np.linalg.norm(place, axis=-1)
    shell = (radius > 16) & (radius < 20) & ~(np.abs(place[..., :2]).max(axis=-1) < 3)
    found = heads.brain_of(shell, (1.0, 1.0, 1.0))
    assert found[radius < 18].all() and not found[radius > 24.5].any()
    assert heads.brain_of(shell[12:], (1.0, 1.0, 1.0))[0].any()  # cut off by the field of view


def test_a_brain_alone_is_stripped(read):
    image = np.zeros((80, 100, 80), np.float32)
    image[10:70, 10:90, 10:70] = 1.0
    small = read._replace(image=image, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    assert small.stripped
    image[10:70, 10:90, :] = 1.0
    assert small.stripped
    assert not small._replace(affine=np.diag([2.5, 2.5, 2.5, 1.0])).stripped


# -- Which versions --------------------------------------------------------------------------------


def test_kinds_take_their_turns_over_heads():
    counts = {"kinds": 4, "harmless": 3, "torchio": 8}
    found = [v for index in range(20) for v in plan.versions_of(index, counts, SOURCES)]
    assert sum(v.group == "clean" for v in found) == 20
    for kind in KINDS:
        fractions = sorted(v.fraction for v in found if (v.group, v.kind) == ("kinds", kind.name))
        assert len(fractions) == 8
        # As even as eight numbers in [0, 1) that follow the golden ratio.
        assert max(np.diff([fractions[-1] - 1, *fractions])) < 0.25
    for kind in plan.HARMLESS:
        assert sum((v.group, v.kind) == ("harmless", kind) for v in found) == 10
    for kind in plan.TORCHIO:
        at = [v.fraction for v in found if (v.group, v.kind) == ("torchio", kind)]
        np.testing.assert_allclose(sorted(at), np.repeat(np.arange(1, 11) / 10, 4))
    assert len({v.name for v in found}) > 200


def test_damage_of_a_part_is_severe_and_has_a_cause():
    found = plan.versions_of(0, {"local": 20, "uncovered": 6}, SOURCES)[1:]
    assert all(0.5 <= version.fraction <= 1 for version in found)
    assert {v.cause for v in found if v.group == "local"} == set(plan.LOCAL)
    assert {v.cause for v in found if v.group == "uncovered"} == {"none"}
    without = plan.versions_of(0, {"local": 20}, ("noise",))[1:]
    assert {version.kind for version in without} == {"noise"}


# -- Versions --------------------------------------------------------------------------------------


def make(read, group, kind, fraction=0.8, turn=0):
    return making.make(read, Version(group, kind, fraction, turn), seed=1)


def test_without_an_artefact_an_acquisition_gives_the_image_back(read):
    protocol = making.protocol_of(read, Axes(1, 2, 0))
    same = augment.acquire(jax.random.key(0), read.image, read.voxel_size, protocol)
    np.testing.assert_allclose(same, read.image, atol=1e-5)
    np.testing.assert_allclose(protocol.affine(AFFINE, read.image.shape, read.voxel_size), AFFINE)


def test_the_same_version_is_made_again(read):
    first, again, other = (make(read, "kinds", "ghosting", turn=turn) for turn in (0, 0, 1))
    np.testing.assert_array_equal(first.image, again.image)
    assert np.abs(first.image - other.image).max() > 0.01
    assert first.image.shape == read.image.shape and first.details["severity"] > 0.4


def test_fold_over_lies_where_it_was_scanned(read):
    """What is still inside the smaller field of view, and has nothing over it, is in its place."""
    made = make(read, "kinds", "fold_over", 0.3)
    (axis,) = np.flatnonzero(np.array(made.image.shape) != read.image.shape)
    assert made.image.shape[axis] < read.image.shape[axis]
    back = to_grid(made.image, made.affine, read.image.shape, read.affine)
    inside = np.isclose(back, read.image, atol=0.02) & (read.image > 0.2)
    assert inside.sum() > 0.25 * (read.image > 0.2).sum()


def test_outside_its_region_a_head_is_as_it_was(read):
    made = make(read, "local", "noise")
    assert made.region.shape == read.image.shape
    assert 0.03 < (made.region > 0.5).mean() < 0.8
    np.testing.assert_allclose(
        made.image[made.region == 0], read.image[made.region == 0], atol=1e-5
    )
    assert np.abs(made.image - read.image)[made.region > 0.99].mean() > 0.02
    assert set(made.details["region"]) == {"axis", "from", "to"}


def test_half_a_voxel_is_where_it_was(read):
    """Against scipy: the shifted scan is the mean of neighbours, and its affine says where."""
    made = make(read, "harmless", "shift_linear")
    expected = ndimage.map_coordinates(read.image, np.indices(read.image.shape) - 0.5, order=1)
    inner = (slice(1, None),) * 3
    np.testing.assert_allclose(made.image[inner], expected[inner], atol=1e-5)
    place = made.affine @ [5.0, 5.0, 5.0, 1.0]
    np.testing.assert_allclose(place, read.affine @ [4.5, 4.5, 4.5, 1.0])


def test_conformed_is_where_it_was(read):
    made = make(read, "harmless", "conformed")
    np.testing.assert_allclose(np.linalg.norm(made.affine[:3, :3], axis=0), 1.0)
    back = to_grid(made.image, made.affine, read.image.shape, read.affine)
    inner = (slice(1, -1),) * 3
    assert np.corrcoef(back[inner].ravel(), read.image[inner].ravel())[0, 1] > 0.99
    middles = [
        nib.affines.apply_affine(affine, np.subtract(image.shape, 1) / 2)
        for image, affine in ((made.image, made.affine), (read.image, read.affine))
    ]
    np.testing.assert_allclose(*middles, atol=1e-6)


def test_intensities_alone(read):
    standardised = make(read, "harmless", "standardised").image
    inside = read.image > read.image.mean()
    assert standardised[inside].mean() == pytest.approx(0, abs=1e-4)
    assert standardised[inside].std() == pytest.approx(1, abs=1e-4)
    clipped = make(read, "harmless", "clipped").image
    assert clipped.max() == pytest.approx(np.percentile(read.image, 99.5), rel=1e-4)


def test_stripped_where_labels_say_what_is_brain(read):
    made = make(read, "harmless", "stripped")
    gone = made.image != read.image
    assert not gone[read.grey_matter].any() and (made.image[gone] == 0).all()
    stripped = Version("harmless", "stripped")
    assert not making.possible(read._replace(grey_matter=None), stripped)
    at_1_mm = read._replace(affine=np.eye(4))
    assert at_1_mm.stripped and not making.possible(at_1_mm, stripped)
    assert not making.possible(at_1_mm, Version("harmless", "conformed"))


@pytest.mark.parametrize("kind", plan.UNCOVERED)
def test_damage_of_no_source(read, kind):
    spoilt = make(read, "uncovered", kind).image
    assert spoilt.shape == read.image.shape and spoilt.dtype == np.float32
    assert spoilt.min() >= 0 and 0.5 < spoilt.max() <= 1
    assert np.abs(spoilt - read.image).max() > 0.1
    np.testing.assert_array_equal(spoilt, make(read, "uncovered", kind).image)


def test_damage_of_no_source_is_what_it_is_called(read):
    image, size, rng = read.image, read.voxel_size, np.random.default_rng(0)
    head = image > 0.1 * np.percentile(image, 99)
    level = np.percentile(image[head], 40)
    clipped = uncovered.clipped_white(rng, image, size, 1.0)
    np.testing.assert_allclose(clipped, np.minimum(image, level) / level, rtol=1e-5)
    dark = uncovered.low_contrast(rng, image, size, 1.0)
    assert np.std(dark[head]) / dark[head].mean() < 0.6 * np.std(image[head]) / image[head].mean()
    assert np.corrcoef(uncovered.inverted(rng, image, size, 1.0)[head], image[head])[0, 1] < -0.9
    void = (uncovered.metal(rng, image, size, 1.0) == 0) & (image > 0)
    assert void.sum() * 0.216 < 4 / 3 * np.pi * 4.0**3  # mL of a sphere of 40 mm
    spoilt = uncovered.zipper(rng, image, size, 1.0)
    planes = np.abs(spoilt - image * np.median(spoilt[head] / image[head])) > 0.1
    assert 1 <= min(planes.any(axis=others).sum() for others in ((0, 1), (0, 2), (1, 2))) <= 3


def test_what_no_scanner_acquires_is_one_sentence(read):
    tiny = read._replace(affine=np.diag([0.2, 1.0, 1.0, 1.0]))
    with pytest.raises(making.ConfigError, match=r"^a: voxels of 0\.2 x 1 x 1 mm are out of range"):
        making.make(tiny, Version("kinds", "noise", 0.5), 1)


# -- Scores ----------------------------------------------------------------------------------------


def run(scan, output, model_path, *options):
    arguments = [str(scan.parent), f"--output-dir={output}", f"--model={model_path}"]
    counts = ["--kinds=2", "--local=1", "--harmless=3", "--uncovered=1"]
    assert __main__.main([*arguments, *counts, *options]) == 0


@pytest.fixture(scope="module")
def output(tmp_path_factory, scan, model_path):
    folder = tmp_path_factory.mktemp("out")
    run(scan, folder, model_path)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("scans/*/*.json")}
    run(scan, folder, model_path, f"--markdown={folder / 'all.md'}")
    assert kept == {path: path.stat().st_mtime_ns for path in folder.glob("scans/*/*.json")}
    assert len(kept) == 8
    return folder


def test_every_version_is_scored_once(output):
    content = json.loads((output / "real_heads.json").read_text())
    rows = [measuring.Row(**row) for row in content["versions"]]
    assert [row.group for row in rows] == [
        "clean", *["kinds"] * 2, "local", *["harmless"] * 3, "uncovered",
    ]  # fmt: skip
    for row in rows:
        assert set(row.scores) == set(row.local_scores) == {"task", *SOURCES} and row.sentence
        assert set(row.causes) == {"none", *SOURCES}
        assert 0 <= row.dice <= 1 and 0 <= row.kept_dice <= 1 and row.volume >= 0
        assert row.clean_volume == rows[0].volume and row.person == "a"
    assert rows[0].kept_dice == 1
    assert rows[3].details["region"] and rows[3].own_auc is not None
    assert set(content["summary"]) >= {"clean", "kinds", "local", "harmless", "dice", "volume"}
    assert "### A part of the head is spoilt" in (output / "all.md").read_text()


def test_results_of_earlier_versions_stay_readable():
    """Fields of a row of real_heads.json, and of what is kept of a version, some of it without
    spikes."""
    seen = {
        "scores", "local_scores", "expected_dice", "volume", "volume_uncertainty", "doubts",
        "copies", "details", "dice", "kept_dice", "clean_volume", "own_auc", "total_auc", "spikes",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(measuring.Seen)} == {*seen, "spikes"}
    measuring.Seen(**dict.fromkeys(seen))
    row = {
        "head", "person", "stripped", "group", "kind", "cause", "fraction", "details", "causes",
        "cause_named", "named_causes", "sentence", "scores", "local_scores", "severities",
        "predicted_dice", "dice", "kept_dice", "volume", "clean_volume", "volume_error",
        "own_auc", "total_auc",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(measuring.Row)} == row


def test_a_version_that_was_lost_is_made_again_as_it_was(output, scan, model_path):
    (lost,) = output.glob("scans/*/uncovered-*.json")
    content = json.loads(lost.read_text())
    lost.unlink()
    run(scan, output, model_path)
    again = json.loads(lost.read_text())
    assert again["kept_dice"] == content["kept_dice"] and again["scores"] == content["scores"]


def test_another_calibration_of_the_same_weights_needs_no_scoring(
    output, scan, model_path, monkeypatch
):
    monkeypatch.delattr(measuring, "measure")
    model = load_model(model_path)
    unsure = dict(model.calibration, cause=dict(model.calibration["cause"], accuracy=0.1))
    plans = [[Version()]]
    for calibration, said in ((model.calibration, True), (unsure, False)):
        known = dataclasses.replace(model, calibration=calibration)
        rows = measuring.rows_of([scan], plans, known, 1, output / "scans", lambda number: None)
        assert next(rows).sentence.startswith("not named; this model") is not said


def test_the_area_of_a_map_that_knows_where(read, model_path):
    """Against scikit-learn, and 1 for a variance that is high in the region alone."""
    model = load_model(model_path)
    scored = measuring.score_version(model, read.image, read.affine)
    made = make(read, "local", "noise")
    mask = scored.conformed.mask
    there = to_grid(made.region, read.affine, mask.shape, scored.conformed.affine)
    variances = np.array(scored.measurement.prediction.variances)
    variances[..., 3] = there
    prediction = scored.measurement.prediction._replace(variances=variances)
    known = scored._replace(
        measurement=dataclasses.replace(scored.measurement, prediction=prediction)
    )
    found = measuring._areas(known, made.region, read.affine, channel=3)
    assert found["own_auc"] == 1
    judged = mask & ((there > 0.5) | (there < 0.05))
    expected = metrics.roc_auc_score(there[judged] > 0.5, np.log(variances[judged].sum(axis=-1)))
    assert found["total_auc"] == pytest.approx(expected, abs=1e-6)
    assert measuring._areas(known, np.zeros_like(made.region), read.affine, channel=3) == {}


# -- Usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "no scan is given"),
        (["a.nii.gz", "--kinds", "-1"], "--kinds -1: choose a number from 0 to 1000"),
        (["missing.nii.gz"], "missing.nii.gz does not exist"),
        (["."], "holds no scan"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, what, model_path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fixed = [f"--model={model_path}", f"--output-dir={tmp_path / 'out'}"]
    assert __main__.main([*arguments, *fixed]) == 2
    said = capsys.readouterr().err
    assert what in said and "Traceback" not in said


def test_torchio_is_asked_for_where_it_is_missing(scan, model_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fixed = [f"--model={model_path}", f"--output-dir={tmp_path}"]
    assert __main__.main([str(scan), "--torchio=4", *fixed]) == 2
    assert "pip install torchio" in capsys.readouterr().err


def test_torchios_noise_is_where_it_belongs(read):
    pytest.importorskip("torchio")
    made = make(read, "torchio", "noise", 0.5)
    top = np.percentile(read.image, 99.9)
    added = (made.image - read.image / top)[read.image > 0.5 * top]
    assert added.std() == pytest.approx(0.15, rel=0.15)
    np.testing.assert_array_equal(made.affine, read.affine)
    blurred = make(read, "torchio", "blur", 1.0).image
    assert np.abs(blurred - read.image / top).max() > 0.05
