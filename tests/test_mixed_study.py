"""A study with everything that befalls one."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import polars as pl
import pytest

from experiments import mixed_study
from experiments.real_heads.making import Made
from qc_jax.augment.tissues import TISSUES

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


@pytest.fixture
def labels(tmp_path):
    """A brain of FreeSurfer's numbers: a shell of cortex around white matter."""
    edge = np.arange(-80, 80, 4)
    x, y, z = np.meshgrid(edge, edge, edge, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    numbers = np.where(radius < 55, 2, np.where(radius < 66, 3, 0)).astype(np.int16)
    numbers[(x > 0) & (numbers > 0)] += 39  # of the right hemisphere
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = edge[0]
    nib.save(nib.Nifti1Image(numbers, affine), tmp_path / "labels.nii.gz")
    return tmp_path / "labels.nii.gz"


def test_thirty_scans_of_a_valid_data_set(labels, head, tmp_path, monkeypatch, capsys):
    heads = tmp_path / "heads"
    heads.mkdir()
    for name in "ab":
        nib.save(nib.Nifti1Image(head, np.diag([8.0, 8, 8, 1])), heads / f"{name}.nii.gz")
    asked = []

    def make(read, version, seed):
        asked.append((read.name, version.kind, round(version.fraction, 2)))
        return Made(read.image, read.affine)

    monkeypatch.setattr(mixed_study.making, "make", make)
    output = tmp_path / "study"
    command = [str(heads), f"--labels={labels}", f"--output-dir={output}"]
    assert mixed_study.main(command) == 0
    assert f"qc-jax {output} {output}_qc participant" in capsys.readouterr().out
    people = pl.read_csv(output / "participants.tsv", separator="\t")
    assert people.height == len(list(output.glob("sub-*/anat/*_T1w.nii.gz"))) == 30
    said = people["spoilt_by"].to_list()
    assert said[:9] == ["nothing"] * 9 and said[27:] == ["T2", "T2", "baby"]
    assert said[9:13] == ["motion"] * 3 + ["spike"]
    assert people["severity"].to_list()[8:12] == ["n/a", "mild", "moderate", "severe"]
    assert asked[:2] == [("a", "", 0.0), ("b", "", 0.0)]
    assert asked[9:12] == [("b", "motion", 0.17), ("a", "motion", 0.5), ("b", "motion", 0.83)]
    assert set(people["site"]) == {"north", "south"}
    baby, adult = (nib.load(output / f"sub-{n}/anat/sub-{n}_T1w.nii.gz") for n in (30, 29))
    assert baby.header.get_zooms()[0] == pytest.approx(0.63)
    middle = tuple(n // 2 for n in adult.shape)
    assert baby.get_fdata().max() > 0 and adult.get_fdata()[middle] > 0
    said = subprocess.run([VALIDATOR, output, "--format", "json"], capture_output=True, text=True)
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert mixed_study.main(command) == 2
    assert "is there already" in " ".join(capsys.readouterr().err.split())


def test_white_matter_is_dark_in_t2_and_in_a_baby():
    for contrast in mixed_study.CONTRASTS.values():
        means = dict(zip(TISSUES, contrast.means, strict=True))
        assert means["white_matter"] < means["grey_matter"]
    fractions = np.zeros((4, 4, 4, len(TISSUES)), np.uint8)
    fractions[..., TISSUES.index("fluid")] = 255
    scan = mixed_study.drawn(np.random.default_rng(0), fractions, "T2")
    assert scan.image.mean() == pytest.approx(1.0, abs=0.02) and scan.image.std() > 0.005
