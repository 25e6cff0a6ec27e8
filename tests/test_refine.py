"""The chain of source heads, against closed forms and what the scoring shows a head."""

import jax
import numpy as np
import pytest

from experiments import acquired
from experiments.faults import tiny
from experiments.refine import calibrate, features, heads
from qc_jax import uncertainty
from qc_jax.models import load_model
from qc_jax.native import AXIS_SIZE, SLICE_SIZE
from qc_jax.scoring.scan import measure
from qc_jax.source_head import SCAN_SIZE
from tests.test_acquired import DESCRIPTION, head  # noqa: F401 (a fixture)


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
    assert versions == 6 and found.local.shape[2:5] == (4, 4, 4)
    assert found.slices.shape == (versions, blocks, 3, 4, SLICE_SIZE)
    assert found.scan.shape == (versions, SCAN_SIZE)
    assert found.axes.shape == (versions, 3, AXIS_SIZE)
    assert (found.cross_entropy >= 0).all() and not found.region[0].any()
    # Without labels the clean version is right by definition.
    assert found.cross_entropy[0].max() <= np.log(2) + 1e-6


def blocks_with(cross_entropy, causes, seed=0):
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
def learnt():
    causes = [None, 0, 1] * 40
    errors = [{None: 0.05, 0: 0.5, 1: 1.0}[cause] for cause in causes]
    blocks = blocks_with(errors, causes)
    schedule = heads.Schedule(steps=800, blocks=30, dropped=0.0)
    return blocks, heads.train(blocks, schedule)


def log_variances(params, blocks, number):
    batch = heads.batch_of(blocks, np.arange(6))
    return np.asarray(heads.apply(params, number, batch)).mean(axis=(1, 2, 3))


def test_the_task_learns_twice_the_error_of_clean_scans(learnt):
    """The minimum of Eq. 4: variance + epsilon = 2 CE."""
    blocks, (task, _, _) = learnt
    found = np.exp(log_variances(task, blocks, 1)[[0, 3], 0] + np.log(0.05))
    np.testing.assert_allclose(found, 2 * 0.05 - heads.EPSILON, rtol=0.15)


def test_a_teacher_learns_what_its_artefact_adds(learnt):
    """The minimum of Eq. 6: task + own + epsilon = 2 CE."""
    blocks, (_, teachers, _) = learnt
    for source, error in enumerate((0.5, 1.0)):
        found = np.exp(log_variances(teachers[source], blocks, 1)[[1 + source], 0])
        np.testing.assert_allclose(found, 2 * error - 2 * 0.05, rtol=0.15)


def test_the_student_is_decoupled(learnt):
    """One cause raises its own variance and no other."""
    blocks, (_, _, student) = learnt
    found = np.exp(log_variances(student, blocks, 3)[:3, 1:])
    assert found[1, 0] > 0.6 and found[2, 1] > 1.2
    assert found[0].max() < 0.05 and found[1, 1] < 0.05 and found[2, 0] < 0.05
    assert uncertainty.VARIANCE_FLOOR < 0.05


def test_a_fresh_head_sees_unit_spread():
    blocks = blocks_with(np.ones(90), [None, 0, 1] * 30)
    params = heads.fresh_params(jax.random.key(0), blocks, 1)
    hidden = blocks.local.reshape(-1, 3) @ params["local"]["kernel"] + params["local"]["bias"]
    hidden = hidden.reshape(len(blocks.local), -1, hidden.shape[-1])
    hidden += (blocks.scan @ params["scan"]["kernel"])[:, None]
    assert abs(hidden.mean()) < 0.2 and 0.3 < hidden.std() < 3


def test_a_calibration_from_draws(model, draw):
    scans = list(calibrate.known_scans(model, draw, "someone"))
    assert scans[0].artefact is None and scans[0].kept == 1 and np.isnan(scans[0].dice)
    found = measure(model, calibrate.conformed(draw, 1, DESCRIPTION.voxel_size))
    np.testing.assert_array_equal(scans[1].scores, found.scores)
