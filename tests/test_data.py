"""The embedded population, label maps, pairs, splits and batches."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from qc_jax import data
from qc_jax.augment import tissues
from qc_jax.data import cache, deformation, label_maps, loader, pairs, population
from qc_jax.errors import ConfigError

SMALL = population.PopulationConfig(2, 8.0, (24, 30, 24))
GRID = (4.0, (12, 12, 12))


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture(scope="module")
def heads():
    return list(population.make_subjects(SMALL))


def test_population_depends_on_its_settings_alone(heads):
    again = list(population.make_subjects(SMALL))
    other = list(population.make_subjects(dataclasses.replace(SMALL, seed=1)))
    np.testing.assert_array_equal(heads, again)
    assert not np.array_equal(heads[0], other[0]) and not np.array_equal(heads[0], heads[1])


def test_heads_are_layers_around_a_brain(heads):
    for head in heads:
        assert head.shape == (24, 30, 24, len(tissues.TISSUES)) and head.dtype == np.uint8
        np.testing.assert_allclose(head.sum(axis=-1, dtype=int), 255, atol=4)
        volume = dict(zip(tissues.TISSUES, head.sum(axis=(0, 1, 2)) / 255 * 8**3, strict=True))
        assert 500e3 < volume["grey_matter"] < 1500e3  # mm3
        assert 300e3 < volume["white_matter"] < 900e3
        assert min(volume[t] for t in ("fluid", "bone", "soft_tissue", "fat")) > 100e3
        assert head[0, ..., 0].mean() > 240  # air at the border


def test_deformations_are_diffeomorphic():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        displacement = deformation.diffeomorphism(rng, (40, 44, 40), 2.0)
        assert np.abs(displacement).max() > 0.5
        assert deformation.jacobian_determinant(displacement).min() > 0


def test_jacobian_of_a_scaling():
    grid = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"))
    np.testing.assert_allclose(deformation.jacobian_determinant(0.1 * grid), 1.1**3)


def test_cache_makes_once_and_mends_damage(tmp_path):
    made = []
    make = lambda: made.append(1) or np.arange(5)  # noqa: E731
    path = tmp_path / "deep" / "array.npy"
    for _ in range(2):
        np.testing.assert_array_equal(cache.load_or_make(path, make), np.arange(5))
    assert len(made) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="made again"):
        np.testing.assert_array_equal(cache.load_or_make(path, make), np.arange(5))
    assert len(made) == 2


def test_label_map_to_fractions(tmp_path):
    numbers = np.zeros((40, 40, 40), np.int16)
    numbers[8:32, 8:32, 8:32] = 2  # white matter
    numbers[8:32, 8:32, 8:20] = 3  # cortex
    numbers[8:32, 8:32, 4:8] = 515  # bone
    path = save(tmp_path / "sub-01.nii.gz", numbers)
    fractions = label_maps.read_label_map(path, *GRID)
    assert fractions.shape == (12, 12, 12, len(tissues.TISSUES))
    np.testing.assert_allclose(fractions.sum(axis=-1, dtype=int), 255, atol=4)
    millilitres = fractions[..., tissues.GREY_MATTER].sum() / 255 * 4**3 / 1000
    assert millilitres == pytest.approx(24 * 24 * 12 / 1000, rel=0.1)
    assert tissues.labels_of(fractions).sum() > 0


def test_label_map_does_not_depend_on_its_orientation(tmp_path):
    numbers = np.zeros((40, 40, 40), np.int16)
    numbers[8:30, 10:32, 8:20] = 3
    numbers[8:30, 10:32, 20:24] = 42
    numbers[8:12, 10:32, 24:30] = 2
    expected = label_maps.read_label_map(save(tmp_path / "a.nii.gz", numbers), *GRID)
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 39
    path = save(tmp_path / "b.nii.gz", np.ascontiguousarray(numbers[::-1]), flipped)
    np.testing.assert_array_equal(label_maps.read_label_map(path, *GRID), expected)


@pytest.mark.parametrize("numbers", [17, 1035, 2035, 8, 58])
def test_numbers_that_are_grey_matter(numbers):
    assert label_maps.tissue_table()[numbers] == tissues.GREY_MATTER


def test_cortex_and_thalamus_together_are_grey_matter():
    fractions = np.zeros((1, 1, 2, len(tissues.TISSUES)), np.uint8)
    fractions[..., tissues.TISSUES.index("white_matter")] = 100, 150
    fractions[..., tissues.GREY_MATTER] = 80, 60
    fractions[..., label_maps.tissue_table()[10]] = 75, 45
    np.testing.assert_array_equal(tissues.labels_of(fractions), [[[1, 0]]])


def test_a_split_from_a_file(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": ["a", "b"], "validation": ["c"], "test": ["d"]}')
    assert data.read_split(path, "dcba")["train"] == ["a", "b"]
    for names, odd in [("abc", "d"), ("abcde", "e")]:
        with pytest.raises(ConfigError, match=f"look at {odd}"):
            data.read_split(path, names)
    path.write_text('{"train": ["a", "b"]}')
    with pytest.raises(ConfigError, match="train, validation and test"):
        data.read_split(path, "ab")
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="cannot be read as a split"):
        data.read_split(path, "ab")


def test_label_maps_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match="not a folder"):
        label_maps.load_label_maps(tmp_path / "missing", *GRID, tmp_path)
    with pytest.raises(ConfigError, match=r"no \.nii"):
        label_maps.load_label_maps(tmp_path, *GRID, tmp_path)
    path = save(tmp_path / "white.nii.gz", np.full((9, 9, 9), 2, np.int16))
    with pytest.raises(ConfigError, match=r"white\.nii\.gz holds no grey matter"):
        label_maps.read_label_map(path, *GRID)
    path = save(tmp_path / "t1.nii.gz", np.random.default_rng(0).random((9, 9, 9), np.float32))
    with pytest.raises(ConfigError, match="no label map"):
        label_maps.read_label_map(path, *GRID)


def scan_and_labels():
    labels = np.zeros((20, 20, 20), np.int16)
    labels[5:15, 5:15, 5:15] = 1
    return (labels + 0.5).astype(np.float32), labels


@pytest.mark.parametrize("layout", ["bids", "folders", "beside"])
def test_pairs_in_three_layouts(tmp_path, layout):
    image, labels = scan_and_labels()
    names = {
        "bids": ("sub-{0}/anat/sub-{0}_T1w", "derivatives/gm/sub-{0}/anat/sub-{0}_label-GM_mask"),
        "folders": ("images/{0}", "labels/{0}"),
        "beside": ("{0}", "{0}_label"),
    }[layout]
    for subject in ("01", "02", "03"):
        save(tmp_path / f"{names[0].format(subject)}.nii.gz", image)
        save(tmp_path / f"{names[1].format(subject)}.nii.gz", labels)
    subjects = data.load_subjects(str(tmp_path), 1.0, (16, 16, 16), 0, 0, tmp_path / "cache")
    assert len(subjects) == 3
    assert subjects[0].labels.sum() == 1000
    assert subjects[0].image.max() == 1 and subjects[0].image.dtype == np.float32


def test_pairs_that_do_not_match(tmp_path):
    image, labels = scan_and_labels()
    a, b = tmp_path / "a.nii.gz", tmp_path / "a_label.nii.gz"
    save(a, image)
    with pytest.raises(ConfigError, match="no counterpart"):
        pairs.find_pairs(tmp_path)
    grid = (1.0, (16, 16, 16))
    with pytest.raises(ConfigError, match="shape"):
        pairs.read_pair(a, save(b, labels[:-1]), *grid)
    with pytest.raises(ConfigError, match="affine"):
        pairs.read_pair(a, save(b, labels, np.diag([2.0, 1, 1, 1])), *grid)
    with pytest.raises(ConfigError, match="no grey matter"):
        pairs.read_pair(a, save(b, 0 * labels), *grid)
    with pytest.raises(ConfigError, match="holds the numbers 0 and 20000"):
        pairs.read_pair(a, save(b, 20000 * labels.astype(np.int32)), *grid)
    with pytest.raises(ConfigError, match="constant"):
        pairs.read_pair(save(a, 0 * image), save(b, labels), *grid)


def test_too_few_subjects_to_split(tmp_path):
    image, labels = scan_and_labels()
    save(tmp_path / "a.nii.gz", image)
    save(tmp_path / "a_label.nii.gz", labels)
    with pytest.raises(ConfigError, match="at least 3"):
        data.load_subjects(str(tmp_path), 1.0, (16, 16, 16), 0, 0, tmp_path / "cache")


@pytest.mark.parametrize("number", [3, 20, 40])
def test_split_is_disjoint_and_complete(number):
    names = [f"sub-{i}" for i in range(number)]
    split = loader.split_subjects(names, 0)
    assert sorted(name for part in split.values() for name in part) == sorted(names)
    assert len(split["validation"]) == len(split["test"]) == max(round(number / 10), 1)
    assert split == loader.split_subjects(names[::-1], 0)


def test_batches_resume_exactly(heads):
    subjects = [
        data.Subject(f"{i}", tissues.labels_of(head), fractions=head)
        for i, head in enumerate(heads * 2)
    ]
    unbroken = data.batches(subjects, 3, seed=5)
    expected = [next(unbroken) for _ in range(4)]
    first = data.batches(subjects, 3, seed=5)
    next(first), next(first)
    second = data.batches(subjects, 3, seed=5)
    second.set_state(first.get_state())
    for batch in expected[2:]:
        again = next(second)
        for name in ("subject", "index"):
            np.testing.assert_array_equal(again[name], batch[name])
    both = np.concatenate([expected[0]["subject"], expected[1]["subject"]])
    assert both.shape == (6,) and set(both) == set(range(4))  # an epoch is everyone


def test_images_come_with_the_batch_and_fractions_do_not(heads):
    images = [data.Subject(f"{i}", h[..., 0], image=h[..., 2] / 255) for i, h in enumerate(heads)]
    batch = next(data.batches(images, 2, seed=0))
    for i, subject in enumerate(batch["subject"]):
        np.testing.assert_array_equal(batch["image"][i], images[subject].image)
        np.testing.assert_array_equal(batch["labels"][i], images[subject].labels)
    assert data.stacked_fractions(images) is None
    drawn = [data.Subject(f"{i}", h[..., 0], fractions=h) for i, h in enumerate(heads)]
    assert set(next(data.batches(drawn, 2, seed=0))) == {"subject", "index"}
    np.testing.assert_array_equal(data.stacked_fractions(drawn), heads)


def test_clean_scans_are_the_same_each_time(heads):
    subjects = [data.Subject("a", tissues.labels_of(heads[0]), fractions=heads[0])]
    first, again = (next(data.clean_scans(subjects, 3))[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_parts_of_a_batch_are_the_batch_even_of_one(heads):
    subjects = [
        data.Subject(f"{i}", tissues.labels_of(h), fractions=h) for i, h in enumerate(heads)
    ]
    whole = next(data.batches(subjects, 2, seed=5))
    for part in range(2):
        row = next(data.batches(subjects, 1, 5, part, 2))
        assert row["subject"] == whole["subject"][part]
        assert row["index"] == part
    alone = next(data.batches(subjects, 1, seed=5))
    assert alone["subject"] == whole["subject"][0]
    assert alone["index"] == 0
