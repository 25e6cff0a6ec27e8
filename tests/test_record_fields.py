"""The fields of a record: which every record has, and which earlier versions did not write."""

import numpy as np
import pytest

from experiments.benchmarks import study
from qc_jax.scoring.record_fields import Refused, Scored, is_record, scored_of


@pytest.fixture
def made():
    return study.generated(np.random.default_rng(0), 0, refused=False)


@pytest.fixture
def refused():
    return study.generated(np.random.default_rng(0), 1, refused=True)


def test_of_scored_and_refused_scans(made, refused):
    assert is_record(made) and is_record(refused)
    assert scored_of([made, refused, made]) == [made, made]


@pytest.mark.parametrize("name", sorted(Scored.__required_keys__ & Refused.__required_keys__))
def test_what_lacks_a_field_of_every_record_is_none(made, refused, name):
    for record in (made, refused):
        assert not is_record({key: value for key, value in record.items() if key != name})
        assert not is_record(record | {name: 7})


@pytest.mark.parametrize("name", sorted(Scored.__optional_keys__))
def test_what_lacks_a_field_that_some_version_does_not_write_is_one(made, name):
    assert is_record({key: value for key, value in made.items() if key != name})


def test_a_field_of_a_later_version_does_not_matter(made):
    assert is_record(made | {"of_later": [1, {"more": None}]})


def test_scores_are_of_scored_scans_alone(made, refused):
    assert not is_record(refused | {"scores": made["scores"]})
    del made["scores"]
    assert not is_record(made)
