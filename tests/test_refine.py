"""The level head trained again: what it is shown is what the scoring shows it."""

import jax
import numpy as np
import pytest
from skimage.measure import block_reduce

from experiments.faults import tiny
from experiments.refine import __main__ as refine
from experiments.refine import features, levels
from qc_jax import augment, network, uncertainty
from qc_jax.data import population
from qc_jax.models import load_model
from qc_jax.scoring.predict import predict, windows_in
from qc_jax.scoring.scan import on_grid


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny.write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


def in_cubes(volume, edge):
    return block_reduce(volume, (edge, edge, edge), np.mean)


def test_means_of_an_interpolated_map_without_interpolating_it():
    coarse = np.random.default_rng(0).standard_normal((1, 4, 4, 4, 1)).astype(np.float32)
    expected = in_cubes(np.asarray(network.upsample(coarse, 3))[0, ..., 0], 8)
    smooth = levels.smoothing(4, depth=4)
    found = np.einsum("ai,bj,ck,ijk->abc", smooth, smooth, smooth, coarse[0, ..., 0])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(smooth.sum(axis=1), 1, atol=1e-6)


def test_the_head_is_shown_what_the_scoring_shows_it(model):
    """Its log-variances from the features are those of a prediction of the whole scan."""
    description = model.description
    image = tiny.make_head()[:, :24]
    conformed = on_grid(image, description.voxel_size)
    places = windows_in(conformed.mask, description.patch, 0.0)
    seen = features.of_scan(model, image, places)

    scored = predict(
        description.network, model.params, conformed.image, description.patch, 0.0,
        mask=conformed.mask,
    )  # fmt: skip
    head = network.LevelHead(1 + len(description.sources))
    windows = levels.Windows(
        seen.local, seen.everywhere, features.in_cubes(seen.fine, 2), None, None
    )
    smooth = levels.smoothing(4, description.depth)
    found = levels.log_variances(head, model.params["params"]["level"], windows, smooth)
    for window, total, place in zip(found, seen.total, places, strict=False):
        variances = scored.variances[place]
        np.testing.assert_allclose(
            window[..., 2], in_cubes(np.log(variances[..., 2]), 2), atol=1e-4
        )
        np.testing.assert_allclose(total, variances.sum(axis=-1), rtol=1e-3)


@pytest.fixture(scope="module")
def found(model):
    fractions = next(population.make_subjects(population.PopulationConfig(1, 8.0, (24, 32, 24))))
    return features.of_head(
        model, jax.random.key(0), np.random.default_rng(0), fractions, augment.ALL_SOURCES, 0.0
    )


def test_targets_of_a_head(found):
    """The floor for what is absent; an artefact among several has what it has alone."""
    present = ~np.isnan(found.present)
    assert present.sum(axis=1).tolist()[:7] == [0, 1, 1, 1, 1, 1, 1]
    assert (present[7:].sum(axis=1) > 1).all()
    targets = np.moveaxis(found.target[..., 1:], -1, 1)
    np.testing.assert_allclose(targets[~present], np.log(uncertainty.VARIANCE_FLOOR), rtol=1e-6)
    for scan in (7, 8):
        for source in np.flatnonzero(present[scan]):
            np.testing.assert_array_equal(targets[scan, source], targets[1 + source, source])
            assert found.present[scan, source] == found.present[1 + source, source]


def test_a_fresh_head_sees_unit_spread_and_answers_with_the_mean(found):
    windows = levels.windows_of([found])
    params = levels.fresh_params(jax.random.key(0), windows)
    local, everywhere = params["local"], params["everywhere"]
    hidden = windows.local.astype(np.float32) @ local["kernel"] + local["bias"]
    hidden += (windows.everywhere @ everywhere["kernel"])[:, None, None, None]
    assert abs(hidden.mean()) < 0.1 and 0.5 < hidden.std() < 2
    answers = levels.log_variances(network.LevelHead(7), params, windows, levels.smoothing(4, 2))
    difference = np.asarray(answers - windows.target).mean(axis=(0, 1, 2, 3))
    np.testing.assert_allclose(difference, 0, atol=0.1)


def test_training_reaches_targets_that_another_head_would_give(model, found):
    """Targets of a random head can be reached, and are approached from zero."""
    windows, smooth = levels.windows_of([found]), levels.smoothing(4, 2)
    head = network.LevelHead(7)
    params = model.params["params"]["level"]
    other = jax.tree.map(lambda x: x[::-1], params)
    target = np.asarray(levels.log_variances(head, other, windows, smooth))
    windows = windows._replace(target=target)
    assert float(levels.loss(head, other, windows, smooth)) == pytest.approx(0, abs=1e-10)
    trained = levels.train(params, windows, smooth, levels.Schedule(steps=100, batch_size=32))
    before, after = (float(levels.loss(head, p, windows, smooth)) for p in (params, trained))
    assert after < 0.3 * before


@pytest.mark.slow
def test_only_the_level_head_changes_and_kept_features_are_used_again(model, tmp_path, capsys):
    arguments = [
        f"--model={model.path}", f"--output={tmp_path / 'refined.safetensors'}",
        f"--work-dir={tmp_path / 'work'}", "--subjects=15", "--heads=2", "--validation-heads=1",
        "--steps=2", "--draws=1", "--deformation=0.5",
    ]  # fmt: skip
    assert refine.main(arguments) == 0
    refined = load_model(tmp_path / "refined.safetensors")
    same = jax.tree.map(lambda a, b: bool((a == b).all()), model.params, refined.params)["params"]
    assert not all(jax.tree.leaves(same.pop("level"))) and all(jax.tree.leaves(same))
    assert refined.calibration["subjects"] and "2 heads" in refined.training["level head"]

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.npz")}
    assert len(kept) == 3 and refine.main(arguments) == 0
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.npz")}
    assert load_model(tmp_path / "refined.safetensors").sha256 == refined.sha256

    # What was made of other heads is not taken for those of these; none is deformed to validate on.
    assert refine.main([*arguments, "--deformation=0.0"]) == 0
    assert len(list((tmp_path / "work").rglob("*.npz"))) == 5


def test_images_cannot_be_learnt_from(model, tmp_path, capsys):
    arguments = [f"--model={model.path}", "--output=x.safetensors", f"--data={tmp_path}"]
    assert refine.main(arguments) == 2
    assert "error" in capsys.readouterr().err
