"""Which maps are written of a scan, by what was asked for and what was found."""

import dataclasses
import json

import pytest

from qc_jax.errors import ConfigError
from qc_jax.scoring import wanted
from qc_jax.scoring.decision import Rule
from qc_jax.scoring.wanted import Wanted

SOURCES = ("noise", "ghosting", "wrap")


def test_all_maps():
    asked = Wanted(SOURCES)
    assert asked.maps_of(()) == asked.possible_maps
    assert len(asked.possible_maps) == 3 + 2 + len(SOURCES)


@pytest.mark.parametrize(
    ("causes", "variances"),
    [
        ((), ()),
        (("noise",), ("noise variance",)),
        (("ghosting", "wrap"), ("ghosting variance", "wrap variance")),
        (("blur",), ()),  # whose map was not asked for
    ],
)
def test_the_map_of_the_cause(causes, variances):
    asked = Wanted(SOURCES, maps="cause")
    assert asked.maps_of(causes) == ("segmentation", *variances)
    assert set(asked.maps_of(causes)) <= set(asked.possible_maps)


def test_no_map():
    assert Wanted(SOURCES, maps="none").maps_of(("noise",)) == ()


def test_maps_of_no_such_kind():
    with pytest.raises(ConfigError, match="--maps some: none, cause, all are meant"):
        Wanted(maps="some")


def test_it_reaches_another_process_as_json():
    asked = Wanted(SOURCES, Rule(0.9, 0.5), "cause")
    assert wanted.from_json(json.loads(json.dumps(dataclasses.asdict(asked)))) == asked
