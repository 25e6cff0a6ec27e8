"""Scanned heads to learn from: versions of one scan on the grid of a model."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from experiments import acquired
from experiments.faults import tiny
from qc_jax.errors import ConfigError
from qc_jax.models import Description
from qc_jax.native import AXIS_SIZE, SCAN_SIZE, SLICE_SIZE
from qc_jax.scoring.conform import conform

DESCRIPTION = Description(tiny.SOURCES, 2, 2, True, (8, 8, 8), 8.0, (24, 28, 24))
VERSIONS = 2 + len(tiny.SOURCES)


@pytest.fixture(scope="module")
def head():
    image = ndimage.zoom(tiny.make_head(), 2, order=1)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    return acquired.Head("someone", None, image, affine)


@pytest.fixture(scope="module")
def draw(head):
    return acquired.draw(np.random.default_rng(3), head, DESCRIPTION)


def test_versions_of_a_draw(draw):
    """Clean, every cause alone, and two of these at once at the same severities."""
    assert draw.kinds[0] == "clean" and not np.isfinite(draw.present[0]).any()
    inside = np.isfinite(draw.present)
    alone, together = inside[1:-1], draw.present[-1]
    assert (alone.sum(axis=0) == 1).all() and (alone.sum(axis=1) == 1).all()
    for source in np.flatnonzero(np.isfinite(together)):
        assert together[source] == draw.present[1:-1][alone[:, source], source]


def test_arrays_of_a_draw(draw):
    shape = DESCRIPTION.field_of_view
    assert draw.images.shape == draw.regions.shape == draw.masks.shape == (VERSIONS, *shape)
    assert draw.images.min() >= 0 and draw.images.max() <= 1
    assert draw.scan.shape == (VERSIONS, SCAN_SIZE) and draw.axes.shape == (VERSIONS, 3, AXIS_SIZE)
    assert draw.slices.shape == (VERSIONS, 3, 14, SLICE_SIZE)
    assert draw.grey_matter.shape == shape and not draw.grey_matter.any()  # a real scan


def test_an_artefact_is_in_its_region_alone(draw):
    assert not draw.regions[0].any()
    local = [v for v in range(1, VERSIONS - 1) if draw.regions[v].min() < 255]
    for version in local:
        change = np.abs(draw.images[version].astype(float) - draw.images[0])
        inside, outside = draw.regions[version] > 200, draw.regions[version] == 0
        if inside.any() and outside.any():
            assert change[outside].mean() < 0.5 * change[inside].mean()


def test_the_same_seed_makes_the_same_draw(head, draw):
    again = acquired.draw(np.random.default_rng(3), head, DESCRIPTION)
    for one, other in zip(draw, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_draws_are_kept_and_read_again(head, draw, tmp_path, monkeypatch):
    monkeypatch.setattr(acquired, "draw", lambda rng, head, description: draw)
    first = acquired.kept_draw([head], DESCRIPTION, 0, 0, tmp_path)
    monkeypatch.delattr(acquired, "draw")
    again = acquired.kept_draw([head], DESCRIPTION, 0, 0, tmp_path)
    for one, other, made in zip(first, again, draw, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, made)


def test_draws_of_others_are_not_taken_for_these(head, tmp_path):
    """Neither of another head of the same name, nor by another seed, nor for another grid."""
    own = acquired.folder_for(tmp_path, [head], DESCRIPTION, 0)
    assert own == acquired.folder_for(tmp_path, [head], DESCRIPTION, 0)
    other = head._replace(image=head.image + 1)
    finer = dataclasses.replace(DESCRIPTION, voxel_size=4.0)
    apart = {
        acquired.folder_for(tmp_path, [other], DESCRIPTION, 0),
        acquired.folder_for(tmp_path, [head], DESCRIPTION, 1),
        acquired.folder_for(tmp_path, [head], finer, 0),
    }
    assert len(apart) == 3 and own not in apart


def test_a_head_without_anything_in_it_is_refused(head):
    with pytest.raises(ConfigError, match="holds no head"):
        acquired.draw(
            np.random.default_rng(0), head._replace(image=np.zeros((16, 16, 16))), DESCRIPTION
        )


def test_a_real_scan_spoilt_on_its_own_grid_has_nothing_of_its_own_changed(head, monkeypatch):
    for name, share in (("_ON_GRID", 1.0), ("_MOVED", 0.0), ("_SCALED", 0.0)):
        monkeypatch.setattr(acquired, name, share)
    found = acquired.draw(np.random.default_rng(3), head, DESCRIPTION)
    of_file = conform(head.image, head.affine, DESCRIPTION.voxel_size, DESCRIPTION.field_of_view)
    np.testing.assert_allclose(found.images[0].astype(float), of_file.image, atol=2e-3)
