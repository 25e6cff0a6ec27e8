"""Signs of a scan that is not as the model expects, on a ball of fluid, grey and white matter."""

import numpy as np
import pytest
from scipy import ndimage

from qc_jax.scoring import doubts

VOXEL = 2.0
FLUID, GREY, WHITE = 0.2, 0.5, 0.8


def distances(shape=(96, 96, 96)):
    axes = [(np.arange(n) - (n - 1) / 2) * VOXEL for n in shape]
    return np.meshgrid(*axes, indexing="ij", sparse=True)


X, Y, Z = distances()
RADIUS = np.sqrt(X**2 + Y**2 + Z**2)
GREY_MATTER = (RADIUS > 62) & (RADIUS <= 72)
VENTRICLE = RADIUS < 20


def head(fluid=FLUID, grey=GREY, white=WHITE, noise=0.02):
    """Grey matter between 62 and 72 mm, 560 mL; a ventricle in the middle; fluid around."""
    image = np.where(RADIUS < 76, fluid, 0.0)
    image = np.where(GREY_MATTER, grey, np.where(RADIUS <= 62, white, image))
    image = np.where(VENTRICLE, fluid, image)
    rng = np.random.default_rng(0)
    return np.abs(image + rng.normal(0, noise, image.shape)).astype(np.float32)


def said(image, grey=GREY_MATTER, data=None, sizes=(1.0, 1.0, 1.0)):
    return doubts.doubts(image, grey, VOXEL, image if data is None else data, sizes)


REGION = doubts.brain(GREY_MATTER, VOXEL)
MATTER = doubts.white_matter(head(), GREY_MATTER, REGION, VOXEL)


def test_none_about_a_usual_head():
    assert said(head()) == ()
    assert said(np.where(RADIUS < 72, head(), 0)) == ()


def test_the_brain_is_what_grey_matter_encloses():
    assert (REGION[RADIUS <= 72]).all() and not REGION[RADIUS > 80].any()
    assert MATTER.any() and not MATTER[VENTRICLE | GREY_MATTER].any()


def test_contrast_is_that_of_the_tissues():
    assert doubts.contrast(head(), GREY_MATTER, MATTER) == pytest.approx(0.3 / 0.8, abs=0.01)
    assert doubts.contrast(head(grey=0.8, white=0.5), GREY_MATTER, MATTER) == pytest.approx(
        -0.6, abs=0.01
    )


def test_another_contrast():
    (sentence,) = said(head(fluid=0.95, grey=0.7, white=0.5))
    assert sentence.startswith("white matter is darker than grey matter by 40%")
    (sentence,) = said(head(grey=0.76, white=0.8))
    assert sentence.startswith("white matter is only 5% brighter")


def test_little_grey_matter():
    small = (RADIUS > 20) & (RADIUS < 30)
    assert any("mL is not that of a whole" in sentence for sentence in said(head(), small))
    assert any("grey matter of 0 mL" in sentence for sentence in said(head(), RADIUS < 0))


def test_clipped():
    noisy = head(noise=0.1)
    assert doubts.clipped(noisy, REGION) < 0.001
    half = np.minimum(noisy, WHITE)
    share = np.mean(half[REGION] == half.max())
    assert doubts.clipped(half, REGION) == pytest.approx(share, abs=0.02)
    assert any("clipped" in sentence for sentence in said(half))


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0])
def test_bias(factor):
    """A field that changes linearly from left to right by a factor over the brain."""
    field = 1 + (factor - 1) / (factor + 1) * X / 62
    image = (head() * field).astype(np.float32)
    inside = (RADIUS > 25) & (RADIUS < 58)
    low, middle, high = np.percentile((field * np.ones_like(RADIUS))[inside], [3, 50, 97])
    assert doubts.bias(image, inside, VOXEL) == pytest.approx((high - low) / middle, abs=0.12)


def test_a_strong_bias_is_said():
    field = 1 + 0.45 * X / 62
    assert any("bias field" in s for s in said((head() * field).astype(np.float32)))


def test_a_void_with_a_bright_rim():
    away = np.sqrt((X - 30) ** 2 + Y**2 + Z**2)
    hole = np.where(away < 12, 0.01, head())
    rimmed = np.where((away >= 12) & (away < 16), 2.0, hole).astype(np.float32)
    volume, bright = doubts.void(rimmed, REGION, MATTER, VOXEL)
    assert volume == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.15) and bright > 0.3
    assert any("metal" in sentence for sentence in said(rimmed))
    assert doubts.void(hole, REGION, MATTER, VOXEL)[1] == 0
    assert doubts.void(head(), REGION, MATTER, VOXEL) == (0, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_zipper_is_one_rough_plane(axis):
    data = head()
    assert doubts.zipper(data)[0] < 1.5
    dots = np.where(np.indices((96, 96)).sum(axis=0) % 2, 0.4, 0.0)
    where = (slice(None),) * axis + (40,)
    data[where] += dots
    ratio, found, plane = doubts.zipper(data)
    assert ratio > 4 and found == axis and plane == 40
    assert any("plane 40 along" in sentence for sentence in said(head(), data=data))


def test_a_head_that_is_cut_and_padded_with_zeros_has_no_zipper():
    data = head()
    data[:, :, :40] = 0.0
    assert doubts.zipper(data)[0] < 1.5
    data[..., 60] += np.where(np.indices((96, 96)).sum(axis=0) % 2, 0.4, 0.0)
    assert doubts.zipper(data)[1:] == (2, 60)


def test_thick_voxels():
    assert said(head(), sizes=(1, 1, 6.5)) == ("blur: the file's own voxels are 6.5 mm",)
    assert said(ndimage.gaussian_filter(head(), 0.3), sizes=(2, 2, 2.9)) == ()
