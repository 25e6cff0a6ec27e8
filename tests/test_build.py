"""What a configuration describes: its stages, and their steps."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from experiments import build, presets, train
from qc_jax import models, training
from qc_jax.augment import SOURCES
from qc_jax.errors import ConfigError
from qc_jax.scoring import scan_report


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


OWN = """
from qc_jax.augment import Source

HUM = Source("hum", lambda key, k_space, severity: k_space, 0.1, 1.0, 0.0, "mV", "A loud hum.")
BLUR = Source("blur", lambda key, k_space, severity: k_space, 0.1, 1.0, 0.0, "mV")
"""


def with_sources(*names):
    return dataclasses.replace(presets.PRESETS["demo"], sources=names)


def test_a_source_of_ones_own_is_named_by_its_place(tmp_path, monkeypatch):
    """It gets a teacher and a variance, and the reports of whoever has the model its caption."""
    (tmp_path / "sources_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    config = with_sources("blur", "sources_of_mine:HUM", "motion")
    stages = build.stages(config)
    teachers = [f"teachers/{name}" for name in ("motion", "blur", "hum")]
    assert [stage.name for stage in stages[1:-1]] == teachers
    params = build.fresh_state(config, stages[-1]).params
    path = tmp_path / "student.safetensors"
    made = build.model_of(config, path, params, stages[-1].sources)
    models.save_model(path, made.description, made.params, {}, {})
    monkeypatch.delitem(sys.modules, "sources_of_mine")
    captions = scan_report.captions(models.load_model(path).description)
    assert list(captions) == ["task", "total", "motion", "blur", "hum"]
    assert captions["hum"] == "A loud hum." and captions["blur"].startswith("Resolution lost")


@pytest.mark.parametrize(
    "names, message",
    [
        (("hum",), "choose from motion, .*, or name package.module:NAME"),
        (("no_such_module:HUM",), "No module named"),
        (("sources_of_mine:HUN",), "no attribute 'HUN'"),
        (("sources_of_mine:OWN",), "no qc_jax.augment.Source"),
        (("blur", "sources_of_mine:BLUR"), "blur blur: name at least one, and each once"),
        ((), "name at least one"),
    ],
)
def test_sources_that_are_not_there(names, message, tmp_path, monkeypatch):
    (tmp_path / "sources_of_mine.py").write_text(f"{OWN}\nOWN = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sources_of_mine", raising=False)
    with pytest.raises(ConfigError, match=message):
        build.chosen_sources(with_sources(*names))


def test_captions_of_the_weights_in_the_package_are_those_of_the_sources():
    captions = scan_report.captions(models.load_model().description)
    assert captions["spike"] == SOURCES[0].looks and all(captions.values())
