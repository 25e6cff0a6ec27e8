"""The weights in the package on a real head, the MNI152 template, which they have not learnt."""

import itertools

import jax
import numpy as np
import pytest
from nilearn.datasets import load_mni152_gm_template, load_mni152_template

import qc_jax
from qc_jax import augment, models, scoring
from qc_jax.scoring.scan import measure, on_grid


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
    assert scoring.dice(found.segmentation == 1, truth) > 0.7
    assert 400 < found.volume < 1000 and 0 < found.volume_error < found.volume
    assert found.warnings == ()


def test_artefacts_in_a_real_head_raise_their_own_scores_and_not_all_others(model, template):
    clean = qc_jax.score(template, model)
    raised = {}
    for source in augment.ALL_SOURCES:
        key = jax.random.key(3)
        image = np.asarray(augment.corrupt(key, clean.conformed.image, source, 1.0))
        bad = measure(model, on_grid(image, model.description.voxel_size), overlap=0.25)
        for name, score in zip(clean.scores, bad.scores, strict=True):
            raised[source.name, name] = score / clean.scores[name]
        assert raised[source.name, source.name] > 1.05, source.name
    for artefact, other in itertools.permutations(("spike", "noise", "blur"), 2):
        assert raised[artefact, artefact] > 5 * raised[artefact, other]
    assert max(raised, key=lambda pair: raised[pair]) == ("noise", "noise")
