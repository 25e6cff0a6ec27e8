"""The examples of the README and of the documentation run as they stand, and the site builds."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from nilearn.datasets import load_mni152_template

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def run(page: Path) -> dict:
    """What the page's Python leaves behind; blocks that need torch only where it is installed."""
    names: dict = {"__name__": page.stem}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        if "import torch" not in block or importlib.util.find_spec("torch"):
            exec(block, names)
    return names


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """What a page calls scan.nii.gz."""
    load_mni152_template(resolution=2).to_filename(tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)


def test_own_training_loop():
    names = run(ROOT / "docs/compose.md")
    assert np.mean(names["values"][-5:]) < np.mean(names["values"][:5])
    assert names["batch"].shape == (2, 16, 20, 16)
    assert not np.array_equal(names["batch"][0], names["batch"][1])
    if "first" in names:
        assert tuple(names["first"].shape) == (2, 1, 16, 20, 16)


def test_source_in_ten_lines():
    names = run(ROOT / "docs/source.md")
    assert names["severities"].shape == (7,) and np.isfinite(float(names["metrics"]["loss"]))
    none = names["DRIFT"].apply(names["jax"].random.key(0), names["scan"], 0.0)
    np.testing.assert_allclose(none, names["scan"], atol=1e-6)
    assert np.abs(names["severe"] - names["scan"]).max() > 0.05


def test_clusters(tmp_path):
    names = run(ROOT / "docs/clusters.md")
    scored = {"status": ["scored", "refused", "scored"], "predicted_dice": [0.8, None, 0.5]}
    pl.DataFrame(scored).write_parquet(tmp_path / "group.parquet")
    assert names["worst"](tmp_path / "group.parquet")["predicted_dice"].to_list() == [0.5, 0.8]


def test_no_example_is_left_out():
    with_python = {page.name for page in PAGES if "```python" in page.read_text()}
    assert with_python == {"README.md", "tutorial.md", "compose.md", "source.md", "clusters.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_pages_that_are_linked_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", ROOT / "docs", tmp_path]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    method = (tmp_path / "method.html").read_text()
    assert not re.search(r'(src="|<link[^>]+href=")https?://', method)  # it needs no network


def test_readme(optimised, scan):
    names = run(ROOT / "README.md")
    assert set(names["result"].scores) >= {"task", "blur"}
    assert np.isfinite(names["value"])


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_tutorial(optimised, scan, tmp_path):
    names = run(ROOT / "docs/tutorial.md")
    assert names["blur"].shape == names["scan"].shape[:3]
    table = pd.DataFrame({"decision": ["keep", "drop", "look"]})
    table.to_csv(tmp_path / "group.tsv", sep="\t", na_rep="n/a")
    assert list(names["usable"](tmp_path / "group.tsv").index) == [0]
