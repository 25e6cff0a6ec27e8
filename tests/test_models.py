"""Weights on disk: what is saved is loaded, and nothing else is."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import qc_jax
from qc_jax import models
from qc_jax.errors import CheckpointError


@pytest.fixture
def copy(model_path, tmp_path):
    for suffix in (".safetensors", ".json"):
        shutil.copy(model_path.with_suffix(suffix), tmp_path)
    return tmp_path / model_path.name


def test_round_trip(model_path, tmp_path):
    model = qc_jax.load_model(model_path)
    again = models.save_model(
        tmp_path / "b.safetensors", model.description, model.params, model.training, {}
    )
    loaded = qc_jax.load_model(tmp_path / "b.safetensors")
    assert again.sha256 == loaded.sha256 == model.sha256
    assert loaded.description == model.description and loaded.calibration == {}
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)


def test_a_run_folder_is_a_model(copy):
    assert models.load_model(copy.parent).sha256 == models.load_model(copy).sha256


def test_damage_is_noticed(copy):
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"SHA-256.*damaged"):
        models.load_model(copy)


def test_weights_of_another_network(copy):
    facts = json.loads(copy.with_suffix(".json").read_text())
    facts["description"]["base_features"] = 4
    copy.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match="another network"):
        models.load_model(copy)


def test_what_is_missing_or_no_model(copy, tmp_path):
    with pytest.raises(CheckpointError, match=r"missing.*experiments\.run"):
        models.load_model(tmp_path / "none.safetensors")
    copy.with_suffix(".json").write_text('{"description": {}}')
    with pytest.raises(CheckpointError, match="does not describe a model"):
        models.load_model(copy)
    copy.with_suffix(".json").write_text("no json")
    with pytest.raises(CheckpointError, match="does not describe a model"):
        models.load_model(copy)


def test_the_file_is_plain_safetensors(model_path, tmp_path):
    tensors = load_file(model_path)
    save_file(tensors, tmp_path / "again.safetensors")
    assert all(name.startswith("params/") for name in tensors)
