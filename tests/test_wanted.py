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
    assert asked.maps_of("no artefact (90%)") == asked.possible_maps
    assert len(asked.possible_maps) == 3 + 2 + len(SOURCES)


@pytest.mark.parametrize(
    ("sentence", "variances"),
    [
        ("no artefact (90%)", ()),
        ("noise, mild (97%); next: no artefact (2%)", ("noise variance",)),
        ("ghosting or wrap-around, severe (80%)", ("ghosting variance", "wrap variance")),
        ("blur, mild (97%)", ()),  # whose map was not asked for
        ("doubtful, none of the known causes: clipped", ()),
        ("", ()),  # a model without calibration
    ],
)
def test_the_map_of_the_cause(sentence, variances):
    asked = Wanted(SOURCES, maps="cause")
    assert asked.maps_of(sentence) == ("segmentation", *variances)
    assert set(asked.maps_of(sentence)) <= set(asked.possible_maps)


def test_no_map():
    assert Wanted(SOURCES, maps="none").maps_of("noise, mild (97%)") == ()


def test_maps_of_no_such_kind():
    with pytest.raises(ConfigError, match="--maps some: none, cause, all are meant"):
        Wanted(maps="some")


def test_it_reaches_another_process_as_json():
    asked = Wanted(SOURCES, Rule(0.9, 0.5), "cause")
    assert wanted.from_json(json.loads(json.dumps(dataclasses.asdict(asked)))) == asked
