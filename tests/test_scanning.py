"""Heads that several processes scan."""

import dataclasses

import numpy as np
import pytest

from experiments import acquired, scanning
from experiments.acquired import Draw, Head
from qc_jax.augment.tissues import TISSUES
from qc_jax.errors import ConfigError
from tests.test_acquired import DESCRIPTION, head  # noqa: F401 (a fixture)


@pytest.fixture
def heads(head):  # noqa: F811
    fractions = np.zeros((24, 28, 24, len(TISSUES)), np.uint8)
    fractions[..., 0] = 255
    fractions[6:18, 6:22, 6:18] = np.eye(len(TISSUES), dtype=np.uint8)[TISSUES.index("bone")] * 255
    return [Head("a", fractions, None, np.eye(4)), head, Head("a", fractions, None, np.eye(4))]


def test_heads_come_back_in_their_turns_rounded_to_twelve_bits(heads, tmp_path):
    path = tmp_path / "heads.npz"
    scanning.write_heads(path, heads)
    assert scanning.turns_in(path) == ["a", "someone", "a"]
    label_map, scan = scanning.read_head(path, "a"), scanning.read_head(path, "someone")
    np.testing.assert_array_equal(label_map.fractions, heads[0].fractions)
    assert label_map.image is None and scan.fractions is None
    np.testing.assert_array_equal(scan.affine, heads[1].affine)
    largest = heads[1].image.max()
    np.testing.assert_allclose(scan.image / 4095 * largest, heads[1].image, atol=largest / 8000)


@pytest.mark.slow
def test_processes_make_the_draws_of_one(head, tmp_path):  # noqa: F811
    seen = []
    scanning.make([head], DESCRIPTION, 1, tmp_path, 2, 2, seen.append)
    assert scanning.made(tmp_path, 10) == [0, 1] and seen[-1] == 2
    written = scanning.read_head(tmp_path / "heads.npz", "someone")
    expected = acquired.draw(np.random.default_rng([1, 1]), written, DESCRIPTION)
    with np.load(acquired.path_of(tmp_path, 1)) as arrays:
        found = Draw(**arrays)
    np.testing.assert_array_equal(found.kinds, expected.kinds)
    np.testing.assert_allclose(found.images, expected.images, atol=2e-3)


def test_a_process_that_ends_too_early_is_one_sentence(head, tmp_path):  # noqa: F811
    unknown = dataclasses.replace(DESCRIPTION, sources=("zipper",))
    with pytest.raises(ConfigError, match=r"ended with code 1.*fewer --processes"):
        scanning.make([head], unknown, 1, tmp_path, 1, 1, lambda number: None)
    with pytest.raises(ConfigError, match=r"zipper is no artefact .*there are blur"):
        acquired.check_sources(unknown.sources)


def test_what_holds_no_heads_is_refused(tmp_path):
    path = tmp_path / "heads.npz"
    with pytest.raises(ConfigError, match="holds no heads to scan"):
        scanning.turns_in(path)
    np.savez(path, something=np.ones(3))
    with pytest.raises(ConfigError, match=r"write it with python -m experiments\.pack"):
        scanning.turns_in(path)
