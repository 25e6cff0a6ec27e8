"""The weights in the package on a real head, the MNI152 template, which they have not learnt."""

import jax
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_mni152_gm_template, load_mni152_template

import qc_jax
from qc_jax import augment, cli, models, scoring
from qc_jax.data import population, tissues
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


def test_an_artefact_in_a_real_head_raises_its_own_score(model, template):
    clean = qc_jax.score(template, model)
    for source in augment.ALL_SOURCES:
        key = jax.random.key(3)
        image = np.asarray(augment.corrupt(key, clean.conformed.image, source, 1.0))
        bad = measure(model, on_grid(image, model.description.voxel_size), overlap=0.25)
        channel = 1 + model.description.sources.index(source.name)
        assert bad.scores[channel] > 1.1 * clean.scores[source.name], source.name


@pytest.mark.slow
def test_corrupted_subjects_rank_worst_on_their_own_source(model, tmp_path):
    """A study of heads of the embedded population, one with each artefact and two clean ones."""
    config = population.PopulationConfig(8, model.description.voxel_size, (96, 112, 96), seed=5)
    heads = population.load_population(config, tmp_path / "cache")
    affine = np.diag([*3 * [model.description.voxel_size], 1.0])
    for index, (fractions, source) in enumerate(
        zip(heads.values(), (*augment.ALL_SOURCES, None, None), strict=True)
    ):
        image = tissues.draw_image(np.random.default_rng(index), fractions)
        if source is not None:
            image = np.asarray(augment.corrupt(jax.random.key(index), image, source, 0.9))
        name = f"sub-{source.name if source else f'clean{index}'}"
        path = tmp_path / "bids" / name / "anat" / f"{name}_T1w.nii"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image((1000 * image).astype(np.int16), affine), path)
    where = [str(tmp_path / "bids"), str(tmp_path / "out")]
    assert cli.main([*where, "participant"]) == cli.main([*where, "group"]) == 0
    table = pd.read_csv(tmp_path / "out/group_T1w.tsv", sep="\t", index_col="sub")
    for source in augment.ALL_SOURCES:
        assert table[f"score_{source.name}"].idxmax() == source.name
