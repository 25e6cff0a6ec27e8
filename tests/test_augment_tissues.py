"""Images drawn from tissue fractions, and other heads made of them."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from qc_jax import augment
from qc_jax.augment import tissues

WHITE = tissues.TISSUES.index("white_matter")


def head(shape=(24, 24, 24)) -> np.ndarray:
    """White matter inside grey matter inside fat inside air."""
    away = np.linalg.norm(
        np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape))), axis=0
    )
    edges = (0, 5, 7, 9, 100)
    order = (WHITE, tissues.GREY_MATTER, tissues.TISSUES.index("fat"), 0)
    fractions = np.zeros((*shape, len(tissues.TISSUES)), np.uint8)
    for tissue, low, high in zip(order, edges[:-1], edges[1:], strict=True):
        fractions[(away >= low) & (away < high), tissue] = 255
    return fractions


def test_images_are_the_tissues_means_by_their_fractions():
    fractions = np.zeros((6, 6, 6, len(tissues.TISSUES)), np.uint8)
    fractions[:3, ..., WHITE] = 255
    fractions[4:, ..., tissues.GREY_MATTER] = 255
    fractions[3, ..., [tissues.GREY_MATTER, WHITE]] = 127
    ratios = []
    for seed in range(8):
        image = np.asarray(tissues.draw_image(jax.random.key(seed), fractions))
        assert image.max() == 1 and image.dtype == np.float32
        image = image[..., 2:]  # above what may be cut away
        white, mixed, grey = image[0].mean(), image[3].mean(), image[5].mean()
        assert white > grey and mixed == pytest.approx((white + grey) / 2, rel=0.06)
        ratios.append(grey / white)
    assert np.std(ratios) > 0.02


def test_some_images_lack_what_programs_take_away():
    fractions = head()
    images = np.stack([tissues.draw_image(jax.random.key(seed), fractions) for seed in range(60)])
    fat, air = (fractions[..., tissues.TISSUES.index(t)] == 255 for t in ("fat", "air"))
    stripped = [not image[fat].any() for image in images]
    masked = [not image[air].any() for image in images]
    assert 0.08 < np.mean(stripped) < 0.4
    assert np.mean(stripped) < np.mean(masked) < 0.7
    assert all(image[fractions[..., WHITE] == 255].min() > 0 for image in images)


def test_another_head_has_the_tissues_of_the_first():
    fractions = head()
    moved = np.asarray(tissues.deform(jax.random.key(1), fractions, 0.3))
    np.testing.assert_allclose(moved.sum(axis=-1), 255, atol=0.1)
    first, other = (np.asarray(tissues.labels_of(f)) for f in (fractions, moved))
    assert other.sum() == pytest.approx(first.sum(), rel=0.4)
    assert 0.3 < (first & other).sum() / first.sum() < 0.98


def test_a_deformation_without_displacement_is_an_affine_map_as_of_scipy():
    fractions = head()
    found = np.asarray(tissues.deform(jax.random.key(2), fractions, 0.0))[..., WHITE]
    grid = np.stack(np.meshgrid(*map(np.arange, found.shape), indexing="ij")) - 11.5
    ones = np.concatenate([grid.reshape(3, -1), np.ones((1, found.size))])
    # The map is not public: find it from where the coordinates went, then let scipy apply it.
    taken = np.stack(
        [
            np.asarray(tissues.deform(jax.random.key(2), (g + 11.5)[..., None], 0.0))[..., 0]
            for g in grid
        ]
    )
    inside = np.all((taken > 0.5) & (taken < 22.5), axis=0).ravel()
    solved = np.linalg.lstsq(ones.T[inside], taken.reshape(3, -1).T[inside], rcond=None)[0].T
    matrix = solved[:, :3]
    offset = solved[:, 3] - matrix @ np.full(3, 11.5)
    expected = ndimage.affine_transform(
        fractions[..., WHITE].astype(np.float32), matrix, offset, order=1, mode="nearest"
    )
    np.testing.assert_allclose(found, expected, atol=0.5)
    assert 0.9 < np.linalg.det(matrix) ** (1 / 3) < 1.1


def test_intensities_do_not_depend_on_scale_or_on_air():
    image = np.zeros((12, 12, 12), np.float32)
    image[4:8, 4:8, 4:8] = 50.0
    expected = image / 150  # a head of one intensity: a third of what saturates
    np.testing.assert_allclose(augment.normalise(image), expected, rtol=1e-5)
    np.testing.assert_allclose(augment.normalise(7 * image), expected, rtol=1e-5)
    np.testing.assert_allclose(augment.normalise(image[3:9, 3:9, 3:9]), expected[3:9, 3:9, 3:9])
    image[4, 4, 4] = 500.0
    assert augment.normalise(image).max() == 1
    assert not augment.normalise(np.zeros((4, 4, 4), np.float32)).any()
