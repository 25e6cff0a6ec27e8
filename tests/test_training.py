"""Stages, the sharded step and checkpoints."""

import functools
import os
import subprocess
import sys
import textwrap

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qc_jax import augment, losses, network, spectrum, training
from qc_jax.augment import SOURCES, tissues
from qc_jax.errors import CheckpointError
from qc_jax.network import UNet
from qc_jax.training import checkpoints, distillation, plateau, samples, sparse

PATCH = (8, 8, 8)
SAMPLE = training.SampleConfig(PATCH, patches_per_scan=2)
OPTIMISER = plateau.adam(1e-2, training.PlateauConfig(window=2, patience=1))
SEGMENT = functools.partial(losses.combined_loss, epsilon=0.05)
SOURCES_2 = SOURCES[1:3]
make_sample = jax.jit(training.make_sample, static_argnums=(3, 4, 5))
pseudo_labels = jax.jit(distillation.pseudo_labels, static_argnums=(1, 3))
stage_loss = jax.jit(training.stage_loss, static_argnums=(2, 4, 5, 6))
apply = jax.jit(UNet.apply, static_argnums=0)
apply_to_scans = jax.jit(network.apply_to_scans, static_argnums=0)


def network_of(num_sources: int) -> UNet:
    return UNet(num_sources, base_features=4, depth=2)


def batch_of(size: int = 4) -> dict:
    image = jax.random.uniform(jax.random.key(1), (size, 16, 12, 12))
    return {"image": image, "labels": (image > 0.6).astype(jnp.int32), "index": jnp.arange(size)}


def fresh(num_sources: int, seed: int = 0, task=None) -> training.TrainState:
    params = network.fresh_params(network_of(num_sources), jax.random.key(seed), PATCH)
    if task is not None:
        params = training.start_from(task, params)
    return training.init_state(params, OPTIMISER)


def stage_parts(stage: str):
    """Sources and frozen networks of a stage."""
    task = fresh(0, 1).params
    if stage == "task":
        return (), training.Frozen()
    if stage == "teacher":
        return SOURCES_2[:1], training.Frozen(task)
    return SOURCES_2, training.Frozen(task, (fresh(1, 2).params, fresh(1, 3).params))


def step_of(stage: str, devices: int | None = 1, shown=None):
    """The step of a stage, composed as a user does; `shown` are sources that may appear instead."""
    sources, frozen = stage_parts(stage)
    net = network_of(len(sources))

    def sample(key, scan, fixed):
        _, allowed = fixed
        return training.make_sample(
            key,
            scan["image"],
            scan["labels"],
            shown or sources,
            SAMPLE,
            bool(frozen.teachers),
            allowed,
        )

    def loss(params, samples, fixed, state):
        return training.stage_loss(params, samples, net, fixed[0], SEGMENT)

    return training.train_step(training.data_mesh(devices), sample, loss, OPTIMISER)


def on_mesh(state, devices: int | None = 1):
    return jax.device_put(state, training.replicated(training.data_mesh(devices)))


def run_stage(stage: str, steps: int, devices: int | None = 1):
    sources, frozen = stage_parts(stage)
    step, state = step_of(stage, devices), on_mesh(fresh(len(sources)), devices)
    for _ in range(steps):
        state, metrics = step(state, jax.random.key(7), batch_of(), (frozen, None))
    return state, metrics, frozen


def sample_of(stage: str, key=0, rate=0.9, teacher_input="own") -> training.Sample:
    """Of one scan, as a batch."""
    sources, frozen = stage_parts(stage)
    config = training.SampleConfig(PATCH, 2, artefact_rate=rate, teacher_input=teacher_input)
    image, labels = batch_of()["image"][0], batch_of()["labels"][0]
    one = make_sample(jax.random.key(key), image, labels, sources, config, bool(frozen.teachers))
    return jax.tree.map(lambda x: x[None], one)


def test_task_sees_clean_images():
    sample = sample_of("task")
    np.testing.assert_array_equal(sample.image.patches, sample.for_task.patches)
    assert sample.image.patches.shape == (1, 2, *PATCH, 1) and sample.labels.shape == (1, 2, *PATCH)


def test_patches_come_with_the_spectrum_of_their_whole_scan():
    image, labels = batch_of()["image"][0], batch_of()["labels"][0]
    config = training.SampleConfig(PATCH, 2, bias_field=0.0, flips=False)
    sample = make_sample(jax.random.key(0), image, labels, (), config)
    expected = spectrum.describe_scan(augment.normalise(augment.rescale(image))[None])[0]
    np.testing.assert_allclose(sample.image.spectrum, expected, atol=1e-4)


def test_patches_have_grey_matter_in_their_middle_where_places_are_drawn():
    labels = jnp.zeros((24, 24, 24), jnp.int32).at[10:15, 8:14, 12:18].set(1)
    image = jax.random.uniform(jax.random.key(0), labels.shape)
    hits = {}
    for candidates in (1, 64):
        config = training.SampleConfig((8, 8, 8), 20, candidates, flips=False)
        sample = make_sample(jax.random.key(1), image, labels, (), config)
        hits[candidates] = float(jnp.mean(sample.labels[:, 4, 4, 4] == 1))
    assert hits[1] < 0.3 and hits[64] > 0.7


def test_teacher_sees_its_artefact_and_the_task_network_the_clean_image():
    sample = sample_of("teacher", rate=0.999)
    assert sample.present.shape == (1, 1) and bool(sample.present.all())
    assert float(jnp.abs(sample.image.patches - sample.for_task.patches).max()) > 0.01


def test_student_teachers_see_each_artefact_alone_at_the_very_severity():
    sample = sample_of("student", rate=0.999)
    assert sample.for_teachers.patches.shape == (1, 2, 2, *PATCH, 1)
    assert sample.present.shape == (1, 2) and bool(sample.present.all())
    for i in range(2):
        own = sample.for_teachers.patches[:, i]
        assert float(jnp.abs(own - sample.for_task.patches).max()) > 0.01
        assert float(jnp.abs(own - sample.image.patches).max()) > 0.01


def test_without_an_artefact_the_teacher_labels_the_clean_image():
    sample = sample_of("student", rate=0.0)
    own, clean = sample.for_teachers, sample.for_task
    for i in range(2):
        np.testing.assert_allclose(own.patches[:, i], clean.patches, atol=1e-4)
        np.testing.assert_allclose(own.spectrum[:, i], clean.spectrum, atol=1e-2)
    _, frozen = stage_parts("student")
    assert not sample.present.any()
    targets = pseudo_labels(sample, network_of(2), frozen, sparse.everywhere)
    expected = apply_to_scans(network_of(1), frozen.teachers[0], *clean)[1][..., 1]
    np.testing.assert_allclose(targets[1], jnp.exp(expected), rtol=1e-3)


def test_without_an_artefact_its_variance_may_be_asked_to_be_zero():
    sample = sample_of("student", rate=0.999)
    sample = sample._replace(present=sample.present.at[0, 1].set(False))
    _, frozen = stage_parts("student")
    free, asked = (
        pseudo_labels(sample, network_of(2), frozen, ask)
        for ask in (sparse.everywhere, sparse.where_present)
    )
    np.testing.assert_array_equal(asked[2], 0.0)
    np.testing.assert_allclose(asked[1], free[1], rtol=1e-4)


def test_student_loss_is_eq_5_and_a_term_for_every_variance():
    """Written out once more, straight from section 3."""
    sample = sample_of("student")
    _, frozen = stage_parts("student")
    params = fresh(2).params
    logits, log_variance = apply(network_of(2), params, sample.image.patches[0])
    expected = losses.combined_loss(logits, sample.labels[0], log_variance, 0.05).mean()
    task = apply(network_of(0), frozen.task, sample.for_task.patches[0])[1][..., 0]
    expected += losses.consistency(jnp.exp(log_variance[..., 0]), jnp.exp(task))
    for i, teacher in enumerate(frozen.teachers):
        target = apply(network_of(1), teacher, sample.for_teachers.patches[0, i])[1][..., 1]
        expected += losses.consistency(jnp.exp(log_variance[..., 1 + i]), jnp.exp(target))
    found, _ = stage_loss(params, sample, network_of(2), frozen, SEGMENT)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_same_input_shows_all_the_students_image():
    sample = sample_of("student", rate=0.999, teacher_input="same")
    np.testing.assert_array_equal(sample.for_task.patches, sample.image.patches)
    for i in range(2):
        np.testing.assert_array_equal(sample.for_teachers.patches[:, i], sample.image.patches)
        np.testing.assert_array_equal(sample.for_teachers.spectrum[:, i], sample.image.spectrum)


@pytest.mark.parametrize("stage", ["task", "teacher", "student"])
def test_step_learns_and_leaves_the_frozen_networks_alone(stage):
    _, before = stage_parts(stage)
    state, metrics, frozen = run_stage(stage, 3)
    chex.assert_trees_all_equal(frozen, before)
    chex.assert_tree_all_finite((state.params, metrics))
    sources, _ = stage_parts(stage)
    start = fresh(len(sources))
    chex.assert_trees_all_equal_shapes(state, start)  # no optimiser state for anything else
    assert int(state.step) == 3
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, start.params)
    assert min(jax.tree.leaves(moved)) > 0


def test_no_gradient_reaches_the_frozen_networks():
    sample = sample_of("student")
    _, frozen = stage_parts("student")
    loss = lambda f: stage_loss(fresh(2).params, sample, network_of(2), f, SEGMENT)[0]  # noqa: E731
    gradient = jax.grad(loss)(frozen)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) == 0


def test_warm_up_is_the_plain_cross_entropy():
    sample = sample_of("task")
    logits, log_variance = apply_to_scans(network_of(0), fresh(0).params, *sample.image)
    at = lambda still: distillation.warm_up(SEGMENT, still)(  # noqa: E731
        logits, sample.labels, log_variance
    )
    plain = losses.combined_loss(logits, sample.labels, jnp.zeros_like(log_variance), 0.0)
    np.testing.assert_allclose(at(True), plain, rtol=1e-5)
    expected = losses.combined_loss(logits, sample.labels, log_variance, 0.05)
    np.testing.assert_allclose(at(False), expected, rtol=1e-5)


def test_teacher_starts_from_the_task_network():
    task = fresh(0, 1).params
    net, image = network_of(1), jax.random.uniform(jax.random.key(0), (1, *PATCH, 1))
    params = fresh(1, 2, task).params
    logits, log_variance = apply(net, params, image)
    expected_logits, expected = apply(network_of(0), task, image)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
    np.testing.assert_allclose(log_variance[..., 0], expected[..., 0], atol=1e-5)
    assert float(jnp.abs(log_variance[..., 1]).max()) > 0


def test_training_a_teacher_leaves_the_task_network_it_started_from_whole():
    task = fresh(0, 1).params
    fixed = (training.Frozen(task), None)
    step_of("teacher")(on_mesh(fresh(1, 0, task)), jax.random.key(0), batch_of(), fixed)
    chex.assert_trees_all_equal(task, fresh(0, 1).params)


def test_teachers_share_a_program_which_trains_each_on_its_own_source_alone():
    task = fresh(0, 1).params
    frozen, key, batch = training.Frozen(task), jax.random.key(7), batch_of()
    shared = step_of("teacher", shown=SOURCES_2)
    for i, source in enumerate(SOURCES_2):
        of_one = step_of("teacher", shown=(source,))
        alone, metrics_alone = of_one(on_mesh(fresh(1, 0, task)), key, batch, (frozen, None))
        among, metrics_among = shared(
            on_mesh(fresh(1, 0, task)), key, batch, (frozen, jnp.arange(2) == i)
        )
        for name, value in metrics_alone.items():
            # As users compile, they are equal to 1e-7; without optimisation SSIM is off by 1e-5.
            np.testing.assert_allclose(
                metrics_among[name], value, rtol=1e-4, atol=2e-5, err_msg=name
            )
        for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(among.params), strict=True):
            # Adam divides by the gradient's size: where that is rounding error, so is the step.
            assert np.mean(np.abs(np.asarray(a) - np.asarray(b)) > 1e-3) < 0.02


FOUR_DEVICES = """
import pathlib, sys
import jax, numpy as np
sys.path.insert(0, sys.argv[1])
import test_training as t
assert jax.device_count() == 4
for stage in ("task", "teacher", "student"):
    one, metrics_one, _ = t.run_stage(stage, 3, devices=1)
    four, metrics_four, _ = t.run_stage(stage, 3, devices=4)
    np.testing.assert_allclose(metrics_one["loss"], metrics_four["loss"], rtol=1e-3)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(four.params)):
        # Adam divides by the gradient's size: where that is rounding error alone, so is the step.
        assert np.mean(np.abs(np.asarray(a) - np.asarray(b)) > 1e-3) < 0.02, stage
with t.checkpoints.open_manager(pathlib.Path(sys.argv[2])) as manager:
    restored, _ = t.checkpoints.restore(manager, four)  # written by one device
with t.checkpoints.open_manager(pathlib.Path(sys.argv[3])) as manager:
    t.checkpoints.save(manager, restored, {})
print("equal")
"""


@pytest.mark.slow
def test_four_devices_equal_one_and_exchange_checkpoints_with_it(tmp_path):
    state, _, _ = run_stage("student", 1)
    with checkpoints.open_manager(tmp_path / "one") as manager:
        checkpoints.save(manager, state, {})
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    folders = [os.path.dirname(__file__), str(tmp_path / "one"), str(tmp_path / "four")]
    command = [sys.executable, "-c", textwrap.dedent(FOUR_DEVICES), *folders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr
    with checkpoints.open_manager(tmp_path / "four") as manager:
        restored, _ = checkpoints.restore(manager, state)
    chex.assert_trees_all_equal(restored, state)


def test_checkpoint_brings_everything_back(tmp_path):
    state, _, _ = run_stage("teacher", 2)
    with checkpoints.open_manager(tmp_path) as manager:
        assert checkpoints.restore(manager, state) is None
        checkpoints.save(manager, state, {"next_index": 2})
    with checkpoints.open_manager(tmp_path) as manager:
        restored, position = checkpoints.restore(manager, fresh(1))
    chex.assert_trees_all_equal(restored, state)
    assert position == {"next_index": 2}


def test_checkpoint_of_another_network_is_refused(tmp_path):
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, fresh(1), {})
    with (
        checkpoints.open_manager(tmp_path) as manager,
        pytest.raises(CheckpointError, match="of another network"),
    ):
        checkpoints.restore(manager, fresh(2))


def test_checkpoint_is_not_written_twice(tmp_path):
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, fresh(1), {})
        with pytest.raises(CheckpointError, match="already"):
            checkpoints.save(manager, fresh(1), {})


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_only_teachers_whose_artefact_is_there_speak(backend, monkeypatch):
    """One scan at a time on a CPU, groups elsewhere: the same variances."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    images = jax.random.uniform(jax.random.key(0), (8, 2, 4, 4, 4, 1))
    for count in (0, 1, 3, 8):
        present = jnp.arange(8) % 3 == 0 if count == 3 else jnp.arange(8) < count
        views = training.View(images, jnp.zeros((8, 3)))
        found = sparse.where_present(lambda view: 2 * view.patches[..., 0], views, present)
        expected = 2 * images[..., 0] * np.asarray(present)[:, None, None, None, None]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_function_over_scans_is_that_of_each_scan(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rows = jnp.arange(12.0).reshape(12, 1)
    squares, nothing = sparse.for_each(lambda row: (row**2, jnp.zeros((0, 3))), rows)
    np.testing.assert_array_equal(squares, rows**2)
    assert nothing.shape == (12, 0, 3)


def test_a_scan_is_drawn_from_a_head_and_labelled_by_it():
    head = jnp.zeros((16, 16, 16, len(tissues.TISSUES)), jnp.uint8)
    head = head.at[..., 0].set(255).at[5:11, 5:11, 5:11, 0].set(0)
    head = head.at[5:11, 5:11, 5:11, tissues.GREY_MATTER].set(255)
    moved, draw = set(), jax.jit(lambda key: samples.make_scan(key, head, deformation=0.5))
    for seed in range(8):
        image, labels = draw(jax.random.key(seed))
        assert image.dtype == jnp.float32 and labels.dtype == jnp.int32
        assert float(image[labels == 1].mean()) > 5 * float(image[labels == 0].mean())
        moved.add(int(labels.sum()))
    assert len(moved) > 2 and 6**3 in moved  # some are deformed, some are not


def test_features_of_bfloat16_give_about_the_same_network():
    params, image = fresh(1, 2).params, jax.random.uniform(jax.random.key(0), (2, *PATCH, 1))
    exact = apply(network_of(1), params, image)
    rounded = apply(network_of(1).clone(dtype=jnp.bfloat16), params, image)
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == jnp.float32
        assert 0 < float(jnp.abs(one - other).mean()) < 0.05 * float(jnp.abs(one).mean()) + 0.02
