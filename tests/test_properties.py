"""What holds for every input, tried by hypothesis on many."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import presets, run, run_folder
from qc_jax import augment, training
from qc_jax.augment import ALL_SOURCES
from qc_jax.scoring.conform import conform, to_grid

SHAPE = (12, 10, 8)
quick = settings(max_examples=25, deadline=None)
keys = st.integers(0, 2**31 - 1).map(jax.random.key)


def image_of(key) -> jax.Array:
    return jax.random.uniform(key, SHAPE)


@quick
@given(keys, st.sampled_from(ALL_SOURCES), st.floats(0, 1))
def test_every_artefact_gives_an_image(key, source, fraction):
    image = augment.corrupt(key, image_of(key), source, fraction)
    assert image.shape == SHAPE
    assert np.isfinite(image).all() and image.min() >= 0
    assert abs(float(image.max()) - 1) < 1e-6


@quick
@given(keys, st.sampled_from(ALL_SOURCES))
def test_no_artefact_is_none(key, source):
    k_space = augment.to_k_space(image_of(key))
    same = source.apply(key, k_space, jnp.asarray(source.none))
    np.testing.assert_allclose(same, k_space, atol=1e-3)


@quick
@given(keys)
def test_flips_and_turns_keep_image_and_labels_together(key):
    image = image_of(key)
    labels = (image > 0.5).astype(jnp.int32)
    flipped, flipped_labels = augment.random_flip(key, image, labels)
    np.testing.assert_array_equal(flipped_labels, flipped > 0.5)
    np.testing.assert_array_equal(np.sort(flipped, axis=None), np.sort(image, axis=None))


signed_axes = st.tuples(st.permutations(range(3)), st.tuples(*[st.sampled_from((-1, 1))] * 3)).map(
    lambda drawn: np.column_stack(drawn)
)


@quick
@given(
    signed_axes,
    st.tuples(*[st.floats(1.0, 9.0)] * 3),
    st.tuples(*[st.integers(16, 40)] * 3),
    st.floats(-20, 20),
)
def test_any_affine_and_shape_lands_on_the_grid_and_comes_back(turn, edges, shape, degrees):
    rng = np.random.default_rng(0)
    data = rng.random(shape, np.float32)
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nib.Nifti1Image(data, rotation @ np.diag([*edges, 1.0])).as_reoriented(turn)
    closest = nib.as_closest_canonical(image)
    found = conform(np.asarray(closest.dataobj), closest.affine, 8.0, (24, 28, 24))
    assert found.image.shape == found.mask.shape == (24, 28, 24)
    assert np.isfinite(found.image).all() and 0 <= found.image.min() <= found.image.max() <= 1
    back = to_grid(found.image, found.affine, image.shape, image.affine)
    assert back.shape == image.shape and np.isfinite(back).all()


@quick
@given(
    st.integers(0, 1000),
    st.floats(1e-6, 1.0),
    st.sampled_from(("own", "same")),
    st.booleans(),
    st.lists(st.sampled_from(("motion", "noise", "blur")), min_size=1, unique=True),
)
def test_a_configuration_comes_back_from_the_command_line_and_from_json(
    seed, rate, view, flips, sources
):
    flip = "--flips" if flips else "--no-flips"
    given_options = [f"--seed={seed}", f"--learning-rate={rate!r}", f"--teacher-input={view}", flip]
    config = run.parse([*given_options, "--sources", *sources]).config
    expected = presets.Config(
        seed=seed,
        learning_rate=rate,
        sample=training.SampleConfig(flips=flips, teacher_input=view),
        sources=tuple(sources),
    )
    assert config == expected
    with tempfile.TemporaryDirectory() as folder:
        run_folder.claim(Path(folder), config)
        assert run_folder.read_config(Path(folder)) == config
