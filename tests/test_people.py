"""People, not scans, are split."""

import json

import pytest

from qc_jax import data
from qc_jax.data import loader, names
from qc_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("sub-01", "sub-01"),
        ("sub-01_ses-2_run-1_acq-x", "sub-01"),
        ("site/sub-01_ses-2", "sub-01"),
        ("sub-01/visit2/T1", "sub-01"),
        ("sub-a_b", "sub-a_b"),
        ("sub-a_b_dseg", "sub-a_b"),
        ("sub-01_baseline", "sub-01"),
        ("p1/session2/T1", "p1"),
        ("study/p1/T1", "study/p1"),
        ("OAS1_0001_MR2", "OAS1_0001"),
        ("training_seg_01", "training_seg_01"),
        ("scan_01", "scan_01"),
        ("P01_20200101", "P01"),
        ("P01_2021-01-31", "P01"),
        ("study_98765432", "study_98765432"),
        ("P02_bl", "P02"),
        ("P02_fu", "P02"),
        ("P02_wk4", "P02"),
        ("P02_M12", "P02"),
        ("002_S_0295_I45108", "002_S_0295"),
        ("p1/2020-01-01/T1", "p1"),
        ("p4/Visit 2/T1", "p4"),
    ],
)
def test_whose_scan_it_is(name, person):
    assert names.person_of(name) == person


@pytest.mark.parametrize("seed", range(5))
def test_all_scans_of_a_person_are_in_one_part(seed):
    scans = [f"sub-{i:02d}_ses-{j}" for i in range(10) for j in range(1 + i % 3)]
    split = loader.split_subjects(scans, seed)
    assert sorted(name for part in split.values() for name in part) == scans
    people = [{name[:6] for name in part} for part in split.values()]
    assert sum(map(len, people)) == 10 and [len(part) for part in people] == [8, 1, 1]


def test_a_split_that_tears_a_person_apart_is_refused(tmp_path):
    path = tmp_path / "split.json"
    split = {"train": ["sub-1_ses-1", "sub-2"], "validation": ["sub-1_ses-2"], "test": ["sub-3"]}
    path.write_text(json.dumps(split))
    with pytest.raises(ConfigError, match="scans of sub-1 in train and in validation"):
        data.read_split(path, [name for part in split.values() for name in part])
