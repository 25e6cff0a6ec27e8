"""The chain of source heads, against closed forms and what the scoring shows a head."""

import jax
import numpy as np
import pytest

from experiments import acquired, trials
from experiments.faults import tiny
from experiments.refine import calibrate, features, heads
from qc_jax import uncertainty
from qc_jax.models import load_model
from qc_jax.native import AXIS_SIZE, SLICE_SIZE
from qc_jax.scoring.calibration import KnownScan
from qc_jax.scoring.scan import measure
from qc_jax.source_head import SCAN_SIZE
from tests.test_acquired import DESCRIPTION, VERSIONS, head  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tiny.write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return features.with_source_head(load_model(path))


@pytest.fixture(scope="module")
def draw(head):  # noqa: F811
    return acquired.draw(np.random.default_rng(3), head, DESCRIPTION)


def test_features_of_a_draw(model, draw):
    found = features.of_draw(model, draw, np.random.default_rng(0))
    versions, blocks = found.local.shape[:2]
    assert versions == VERSIONS and found.local.shape[2:5] == (4, 4, 4)
    assert found.slices.shape == (versions, blocks, 3, 4, SLICE_SIZE)
    assert found.scan.shape == (versions, SCAN_SIZE)
    assert found.axes.shape == (versions, 3, AXIS_SIZE)
    assert (found.cross_entropy >= 0).all() and not found.region[0].any()
    # The clean version does not differ from itself; of a divergence none is below 0.
    assert not found.own[0].any() and found.own.min() > -1e-6
    # Without labels the clean version is right by definition.
    assert found.cross_entropy[0].max() <= np.log(2) + 1e-6


def blocks_with(cross_entropy, own, causes, seed=0):
    """One-block scans; a cause shows in its own number of the scan."""
    rng = np.random.default_rng(seed)
    number = len(causes)
    scan = 0.1 * rng.standard_normal((number, SCAN_SIZE)).astype(np.float32)
    present = np.full((number, 2), np.nan, np.float32)
    alone = np.full((number, 2), -1)
    for i, cause in enumerate(causes):
        if cause is not None:
            scan[i, cause] += 2.0
            present[i, cause], alone[i, cause] = 0.5, i
    cells = (number, 4, 4, 4)
    errors = np.broadcast_to(np.asarray(cross_entropy)[:, None, None, None], cells)
    return heads.Blocks(
        local=0.1 * rng.standard_normal((*cells, 3)).astype(np.float32),
        slices=np.zeros((number, 3, 4, SLICE_SIZE), np.float32),
        cross_entropy=errors.astype(np.float32),
        own=np.asarray(own, np.float32)[:, None, None, None] * np.ones(cells, np.float32),
        task=np.full(cells, np.log(0.05), np.float32),
        region=np.ones(cells, np.float32),
        inside=np.ones(cells, np.float32),
        scan=scan,
        axes=np.zeros((number, 3, AXIS_SIZE), np.float32),
        present=present,
        of_scan=np.arange(number),
        of_clean=np.zeros(number, int),
        of_alone=alone,
    )


@pytest.fixture(scope="module")
def learnt(optimised):
    causes = [None, 0, 1] * 40
    own = [{None: 0.0, 0: 0.5, 1: 1.0}[cause] for cause in causes]
    # Twice the cross-entropy is the variance of the task, of the artefact and two floors.
    total = 0.05 + 2 * uncertainty.VARIANCE_FLOOR + np.array(own)
    blocks = blocks_with((total + heads.EPSILON) / 2, own, causes)
    return blocks, heads.train(blocks, heads.Schedule(steps=600, blocks=30, dropped=0.0))


def test_the_head_learns_what_an_artefact_adds_and_is_decoupled(learnt):
    """One cause raises its own variance and no other; so far do Eq. 5 and Eq. 7 agree."""
    blocks, params = learnt
    found = heads.log_variances(params, blocks)[:3].mean(axis=(1, 2, 3))
    task, first, second = np.exp(found + np.array([np.log(0.05), 0, 0])).T
    floor = uncertainty.VARIANCE_FLOOR
    np.testing.assert_allclose(task, 0.05, rtol=0.2)
    np.testing.assert_allclose(first, [floor, 0.5 + floor, floor], rtol=0.3)
    np.testing.assert_allclose(second, [floor, floor, 1 + floor], rtol=0.3)


def test_targets_are_the_floor_where_there_is_no_artefact():
    """A slab: its own cells have the variance, half of it by the block's mean, others the floor."""
    blocks = blocks_with([0.1], [0.4], [1])
    region, own = blocks.region.copy(), blocks.own.copy()
    region[0, 2:], own[0, 1] = 0.0, 0.0
    targets, known = heads.targets_of(blocks._replace(region=region, own=own), np.arange(1))
    floor = uncertainty.VARIANCE_FLOOR
    expected = np.array([0.2 + 0.1, 0.1, 0.0, 0.0])[:, None, None] + np.zeros((4, 4, 4)) + floor
    np.testing.assert_allclose(np.exp(targets[0, ..., 2]), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(targets[0, ..., 1]), floor, rtol=1e-5)
    assert known.all()


def test_of_several_artefacts_each_has_what_it_has_alone():
    blocks = blocks_with([0.1, 0.1, 0.3], [0.2, 0.3, 0.9], [0, 1, 0])
    alone = np.array([[0, -1], [-1, 1], [0, -2]])
    targets, known = heads.targets_of(blocks._replace(of_alone=alone), np.array([2]))
    assert np.exp(targets[0, 0, 0, 0, 1]) == pytest.approx(0.2 + uncertainty.VARIANCE_FLOOR)
    # The second one was in another part of the head alone: there is nothing to compare with.
    assert known.tolist() == [[True, True, False]]


def test_a_fresh_head_sees_unit_spread():
    blocks = blocks_with(np.ones(90), np.zeros(90), [None, 0, 1] * 30)
    params = heads.fresh_params(jax.random.key(0), blocks, 1)
    hidden = blocks.local.reshape(-1, 3) @ params["local"]["kernel"] + params["local"]["bias"]
    hidden = hidden.reshape(len(blocks.local), -1, hidden.shape[-1])
    hidden += (blocks.scan @ params["scan"]["kernel"])[:, None]
    assert abs(hidden.mean()) < 0.2 and 0.3 < hidden.std() < 3


def test_a_calibration_from_draws(model, draw):
    rows = calibrate.rows_of_draw(model, draw, "someone")
    scans = [trials.known_scan(row) for row in rows]
    assert scans[0].artefact is None and scans[0].kept == 1 and np.isnan(scans[0].dice)
    found = measure(model, calibrate.conformed(draw, 1, DESCRIPTION.voxel_size))
    np.testing.assert_array_equal(scans[1].scores, found.scores)


def known(dice, kept, expected_dice, person="someone"):
    scores = np.zeros(2)
    return KnownScan(person, None, 0.0, scores, scores, expected_dice, dice, kept, 1.0, 1.0, 0.1)


def test_real_scans_reach_what_label_maps_do():
    """Of what the clean scan reaches a spoilt one has kept^0.8, that of a map and a real one."""
    kept = np.array([1.0, 0.9, 0.5, 0.2])
    maps = [[known(0.9 * k**0.8, k, 1.0 * (k > 0.95), name) for k in kept] for name in "ab"]
    real = [known(np.nan, k, 0.8 * (k > 0.95)) for k in kept]
    found = calibrate.with_dice_of_real_scans([*maps, real])
    np.testing.assert_allclose([s.dice for s in found[:4]], 0.9 * kept**0.8)
    np.testing.assert_allclose([s.dice for s in found[8:]], 0.9 * 0.8 * kept**0.8)


def test_labels_of_one_person_say_nothing_of_others():
    """The calibration refuses them in one sentence, which truths made of them would get around."""
    of_map, real = [known(0.9, 1.0, 1.0)], [known(np.nan, 1.0, 0.8)]
    for draws in ([real], [of_map, of_map, real]):
        assert np.isnan(calibrate.with_dice_of_real_scans(draws)[-1].dice)


def test_what_was_said_of_a_draw_is_kept(model, draw, head, tmp_path, monkeypatch):  # noqa: F811
    seen = []
    monkeypatch.setattr(calibrate.calibration, "fit", lambda scans, sources: seen.append(scans))
    for make in (lambda number: draw, None):  # the second time nothing is drawn
        calibrate.fit(model, make, [head], range(1), tmp_path)
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        assert (one.artefact, one.kept, one.subject) == (other.artefact, other.kept, other.subject)
