"""Weights on disk: what is saved is loaded, and nothing else is."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import qc_jax
from qc_jax import augment, descriptions, models
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


def rewrite(path, change):
    """The description changed, its sum made to fit."""
    facts = json.loads(path.with_suffix(".json").read_text())
    del facts["facts_sha256"]
    facts = change(facts) or facts
    facts["facts_sha256"] = descriptions.digest(facts)
    path.with_suffix(".json").write_text(json.dumps(facts))


def test_weights_of_another_network(copy):
    rewrite(copy, lambda facts: facts["description"].update(base_features=4))
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


def reverse(mapping):
    return dict(reversed(mapping.items()))


IMPOSSIBLE = {
    "sources in another order": lambda f: f["description"]["sources"].reverse(),
    "a source twice": lambda f: f["description"]["sources"].__setitem__(0, "wrap"),
    "a script": lambda f: f["description"]["sources"].__setitem__(0, "<script>x</script>"),
    "a path": lambda f: f["description"]["sources"].__setitem__(0, "../x"),
    "no list of sources": lambda f: f["description"].update(sources="motion"),
    "negative voxels": lambda f: f["description"].update(voxel_size=-8),
    "no voxels": lambda f: f["description"].update(voxel_size=0.0),
    "voxels that are not finite": lambda f: f["description"].update(voxel_size=float("nan")),
    "voxels in words": lambda f: f["description"].update(voxel_size="8"),
    "no depth": lambda f: f["description"].update(depth=0),
    "depth and patch": lambda f: f["description"].update(depth=5),
    "half a feature": lambda f: f["description"].update(base_features=1.5),
    "a flat patch": lambda f: f["description"].update(patch=[8, 8]),
    "a large patch": lambda f: f["description"].update(patch=[32, 32, 32]),
    "an empty field of view": lambda f: f["description"].update(field_of_view=[0, 28, 24]),
    "maybe a level head": lambda f: f["description"].update(level_head=1),
    "a source head without a level head": lambda f: f["description"].update(
        source_head=True, level_head=False
    ),
    "words for fewer sources": lambda f: f["description"].update(looks=["Stripes."]),
    "words that are numbers": lambda f: f["description"].update(looks=[1] * 6),
    "another field": lambda f: f["description"].update(colour="red"),
    "a scale of 0": lambda f: f["calibration"]["log_scale"].__setitem__(0, 0.0),
    "a mean that is not finite": lambda f: f["calibration"]["log_mean"].__setitem__(0, 1e999),
    "scales of fewer sources": lambda f: f["calibration"]["log_scale"].pop(),
    "a volume without scale": lambda f: f["calibration"]["volume"].update(scale=0),
    "severities in another order": lambda f: f["calibration"].update(
        severity=reverse(f["calibration"]["severity"])
    ),
    "severities that fall": lambda f: f["calibration"]["severity"]["blur"].update(
        standard_scores=[2.0, 1.0], fractions=[0.0, 1.0]
    ),
    "no severities": lambda f: f["calibration"].pop("severity"),
    "a cause that is no source": lambda f: f["calibration"]["cause"].update(classes=["none", "x"]),
    "a coefficient less": lambda f: f["calibration"]["dice"]["coefficients"].pop(),
    "references in words": lambda f: f["calibration"]["reference"].update(task=["a"]),
    "an empty reference": lambda f: f["calibration"]["reference"].update(task=[]),
    "a calibration that is a list": lambda f: f.update(calibration=[1]),
    "a description that is a list": lambda f: f.update(description=[1]),
    "a training that is a list": lambda f: f.update(training=[1]),
    "something more": lambda f: f.update(more=1),
    "a list": lambda f: [1],
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_is_refused(copy, what):
    def change(facts):
        changed = IMPOSSIBLE[what](facts)
        return {"list": changed} if what == "a list" else None

    rewrite(copy, change)
    with pytest.raises(CheckpointError, match=r"student\.json (is|does|has)"):
        models.load_model(copy)


def test_a_description_is_covered_by_its_sum(copy):
    path = copy.with_suffix(".json")
    facts = json.loads(path.read_text())
    facts["description"]["voxel_size"] = 8.5
    path.write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"student\.json does not fit its own facts_sha256"):
        models.load_model(copy)
    del facts["facts_sha256"]
    path.write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"version 0\.8\.1 or earlier.*experiments\.export"):
        models.load_model(copy)
    path.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="does not describe a model"):
        models.load_model(copy)


VIEWS = {
    "transposed": lambda x: np.asarray(x.T, order="C").T,
    "column by column": np.asfortranarray,
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "a device's": jax.numpy.asarray,
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_written_as_what_it_shows(model_path, tmp_path, view):
    model = qc_jax.load_model(model_path)
    params = jax.tree.map(VIEWS[view], model.params)
    path = tmp_path / "view.safetensors"
    models.save_model(path, model.description, params, {}, {})
    jax.tree.map(np.testing.assert_array_equal, models.load_model(path).params, model.params)


def test_weights_that_are_not_finite(model_path, tmp_path):
    model = qc_jax.load_model(model_path)
    params = jax.tree.map(lambda x: x * np.nan, model.params)
    path = tmp_path / "nan.safetensors"
    models.save_model(path, model.description, params, {}, {})
    with pytest.raises(CheckpointError, match="not finite"):
        models.load_model(path)


def test_nothing_is_written_that_cannot_be_loaded(model_path, tmp_path):
    model = qc_jax.load_model(model_path)
    with pytest.raises(CheckpointError, match="is not written: the calibration is not complete"):
        models.save_model(tmp_path / "a.safetensors", model.description, model.params, {}, {"a": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["<b>", "a b", "", "1st", "../x", "task", "none", "a-b", "größe", "_x"]
)
def test_names_that_no_source_can_have(name):
    with pytest.raises(ValueError, match="cannot name a source"):
        augment.Source(name, lambda key, k, severity: k, 0.0, 1.0, 0.0, "")


def test_the_file_is_plain_safetensors(model_path, tmp_path):
    tensors = load_file(model_path)
    save_file(tensors, tmp_path / "again.safetensors")
    assert all(name.startswith("params/") for name in tensors)
