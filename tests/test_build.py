"""What a configuration describes: its stages, and their steps."""

import jax
import numpy as np
import pytest

from experiments import build, presets, train
from qc_jax import training
from qc_jax.augment import SOURCES


@pytest.mark.parametrize("preset", ["gpu", "paper"])
@pytest.mark.parametrize("name", ["task", "teachers/noise", "student"])
def test_one_step_of_the_large_presets_has_the_right_shapes(preset, name):
    """Traced, not run: a step of `paper` takes minutes on a CPU."""
    config = presets.PRESETS[preset]
    stage = build.stage_named(config, name)
    fresh = lambda stage: jax.eval_shape(lambda: build.fresh_state(config, stage))  # noqa: E731
    params = {stage.name: fresh(stage).params for stage in build.stages(config)}
    frozen, key = train.frozen_for(stage, params), jax.random.key(0)

    def step(state, frozen, batch):
        return build.step_of(config, stage, training.data_mesh(1))(
            state, key, batch, build.Fixed(frozen)
        )

    shape = (config.batch_size, *config.heads.field_of_view)
    batch = {
        "image": jax.ShapeDtypeStruct(shape, np.float32),
        "labels": jax.ShapeDtypeStruct(shape, np.int8),
        "index": jax.ShapeDtypeStruct(shape[:1], np.int32),
    }
    state = fresh(stage)
    after, metrics = jax.eval_shape(step, state, frozen, batch)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert metrics["loss"].shape == ()


def test_the_stages_are_the_task_network_the_teachers_and_the_student():
    stages = build.stages(presets.PRESETS["demo"])
    teachers = [f"teachers/{name}" for name in ("spike", "noise", "blur", "wrap")]
    assert [stage.name for stage in stages] == ["task", *teachers, "student"]
    task, spike, *_, student = stages
    assert task.sources == () and task.learns_from == () and task.loss is None
    assert [source.name for source in spike.sources] == ["spike"]
    assert spike.learns_from == ("task",) and spike.steps == 700
    assert student.learns_from == ("task", *teachers) and student.sources == SOURCES
    assert student.loss == presets.LossConfig(consistency_of="log_variance", norm=2)
