"""What stands in every file of an artefact: words for people, and an example that is true."""

import doctest
import importlib

import pytest

from qc_jax import augment


@pytest.mark.parametrize("source", augment.ALL_SOURCES, ids=lambda source: source.name)
def test_every_artefact_has_a_file_with_what_a_reader_asks(source):
    module = importlib.import_module(f"qc_jax.augment.{source.name}")
    assert getattr(module, source.name.upper()) is source
    for part in ("In the scanner:", "How it looks:", "K'", "Reference"):
        assert part in module.__doc__, part
    assert source.looks.endswith(".")
    examples = doctest.testmod(module)
    assert examples.attempted > 2 and not examples.failed
