"""Artefacts put into files: what is scored, kept and said."""

import io
import json

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from experiments import real_heads
from qc_jax import augment

AFFINE = np.diag([-8.0, 8.0, 8.0, 1.0])  # left to right reversed, as many scanners write it


@pytest.fixture(scope="module")
def scan(tmp_path_factory, head):
    path = tmp_path_factory.mktemp("real") / "a.nii.gz"
    nib.save(nib.Nifti1Image(head, AFFINE), path)
    label = ((head > 0.3) & (head < 0.6)).astype(np.uint8)
    nib.save(nib.Nifti1Image(label, AFFINE), path.with_name("a_label.nii.gz"))
    return path


@pytest.fixture(scope="module")
def output(tmp_path_factory, scan, model_path):
    folder = tmp_path_factory.mktemp("out")
    arguments = [str(scan), f"--output-dir={folder}", f"--model={model_path}", "--fractions", "0.8"]
    assert real_heads.main(arguments) == 0
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("scans/*/*.json")}
    assert real_heads.main(arguments) == 0  # the second call scores nothing again
    assert kept == {path: path.stat().st_mtime_ns for path in folder.glob("scans/*/*.json")}
    return folder


def test_a_scan_is_scored_clean_and_with_every_artefact(output):
    rows = json.loads((output / "real_heads.json").read_text())["scans"]
    names = [source.name for source in augment.ALL_SOURCES]
    assert [row["artefact"] for row in rows] == ["none", *names]
    for row in rows:
        assert set(row["scores"]) == {"task", *names} and row["cause"] in ("none", *names)
        assert 0 <= row["dice"] <= 1 and row["volume"] >= 0
    assert len({tuple(row["scores"].values()) for row in rows}) > 1


def test_labels_turn_with_their_scan(scan, head):
    found = real_heads.read(scan)
    np.testing.assert_allclose(found.image, head[::-1] / head.max(), rtol=1e-6)
    np.testing.assert_array_equal(found.grey_matter, ((head > 0.3) & (head < 0.6))[::-1])
    assert found.affine[0, 0] == 8


def test_without_labels_no_dice(scan, tmp_path):
    alone = tmp_path / "alone.nii.gz"
    alone.write_bytes(scan.read_bytes())
    assert real_heads.read(alone).grey_matter is None


def test_a_standardised_scan_keeps_its_dark_tissue(head, tmp_path):
    standardised = (head - head.mean()) / head.std()
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(standardised, AFFINE), path)
    image = real_heads.read(path).image[::-1]
    assert image.min() == 0 and np.corrcoef(image.ravel(), head.ravel())[0, 1] > 0.999


def test_the_table_counts_causes_and_compares_with_the_clean_scan():
    def row(artefact, fraction, cause, noise, blur):
        return {
            "scan": "a",
            "artefact": artefact,
            "fraction": fraction,
            "cause": cause,
            "scores": {"task": 1.0, "noise": noise, "blur": blur},
            "predicted_dice": 0.5,
            "dice": 0.25,
        }

    rows = [
        row("none", 0.0, "none", 0.1, 0.2),
        row("noise", 0.9, "noise", 0.2, 0.2),
        row("noise", 0.9, "blur", 0.8, 0.6),
    ]
    text = io.StringIO()
    Console(width=120, file=text).print(real_heads.table_of_artefacts(rows))
    # Noise doubled and grew eightfold, fourfold on average; blur threefold in one of them.
    line = next(line for line in text.getvalue().splitlines() if "noise 0.9" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["noise 0.9", "1 of 2", "blur 1", "4.0", "3.0", "0.50", "0.25"]
    said = real_heads.in_one_sentence(rows)
    assert "right in 1 of 2" in said and "to 0.250 on average over 3 scans" in said


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "no scan is given"),
        (["a.nii.gz", "--fractions", "2"], "do not all lie in [0, 1]"),
        (["missing.nii.gz"], "missing.nii.gz"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, what, model_path, tmp_path, capsys):
    fixed = [f"--model={model_path}", f"--output-dir={tmp_path}"]
    assert real_heads.main([*arguments, *fixed]) == 2
    said = capsys.readouterr().err
    assert what in said and "Traceback" not in said
