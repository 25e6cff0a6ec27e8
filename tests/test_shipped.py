"""The weights in the package on a real head, the MNI152 template, which they have not learnt."""

import pytest
from nilearn.datasets import load_mni152_gm_template, load_mni152_template

import qc_jax
from qc_jax import augment, models, scoring


@pytest.fixture(scope="module")
def model():
    return qc_jax.load_model()


@pytest.fixture(scope="module")
def template():
    return load_mni152_template(resolution=2)


def test_the_weights_are_small_and_described(model):
    assert model.path.stat().st_size < 16 * 2**20
    card = model.path.with_name("MODEL_CARD.md").read_text()
    assert model.sha256 in card
    assert model.description.sources == tuple(s.name for s in augment.ALL_SOURCES)
    assert model.path == models.DEFAULT


def test_grey_matter_of_a_real_head(model, template):
    found = qc_jax.score(template, model)
    truth = load_mni152_gm_template(resolution=2).get_fdata() > 0.5
    assert scoring.dice(found.segmentation == 1, truth) > 0.65
    assert 400 < found.volume < 1000 and 0 < found.volume_error < found.volume
    assert found.warnings == ()
