"""From the grid of a file to the grid of a model and back."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import block_reduce

from qc_jax.scoring.conform import conform, to_grid
from qc_jax.scoring.scores import dice

VOXEL_SIZE, FIELD_OF_VIEW = 4.0, (48, 56, 48)


def ball(shape, affine, centre=(5.0, -20.0, 15.0), radius=70.0):
    """A head: a ball, brighter at the front, on the grid of an affine."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = nib.affines.apply_affine(affine, grid) - centre
    inside = np.linalg.norm(places, axis=-1) < radius
    return np.where(inside, 1.0 + 0.5 * places[..., 1] / radius, 0.0).astype(np.float32)


def affine_of(edges, corner):
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = corner
    return affine


GRIDS = {
    "2 mm": ((110, 120, 110), affine_of((2, 2, 2), (-105, -140, -95))),
    "thick slices": ((150, 170, 40), affine_of((1.5, 1.5, 6), (-107, -147, -105))),
    "large field of view": ((130, 130, 130), affine_of((2.5, 2.5, 2.5), (-150, -180, -190))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_same_head_lands_on_the_same_place_of_the_box(name):
    shape, affine = GRIDS[name]
    found = conform(100 * ball(shape, affine), affine, VOXEL_SIZE, FIELD_OF_VIEW)
    assert found.image.shape == FIELD_OF_VIEW and found.image.dtype == np.float32
    assert found.image.min() == 0 and 0.3 < found.image.max() < 0.6  # one intensity is a third
    truth = ball(FIELD_OF_VIEW, found.affine) > 0
    assert dice(found.image > 0.33 * found.image.max(), truth) > 0.98
    assert dice(found.mask, truth) > 0.9
    # The box begins about 10 mm above the head and is centred on it.
    top = np.flatnonzero(truth.any(axis=(0, 1))).max()
    assert FIELD_OF_VIEW[2] - 1 - top == pytest.approx(10 / VOXEL_SIZE, abs=2.1)
    middle = ndimage.center_of_mass(truth)
    assert middle[0] == pytest.approx((FIELD_OF_VIEW[0] - 1) / 2, abs=1.5)
    assert middle[1] == pytest.approx((FIELD_OF_VIEW[1] - 1) / 2, abs=1.5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.3])
@pytest.mark.parametrize("factor", [1, 2])
def test_voxels_that_fit_are_not_interpolated(factor, shift):
    """Wherever the head lies: half-way between two voxels, noise would be averaged away."""
    edge = VOXEL_SIZE / factor
    shape, affine = (240 // round(edge),) * 3, affine_of((edge,) * 3, (-115, -140, -105))
    scan = ball(shape, affine, centre=(5.0 + shift, -20.0, 15.0 - shift))
    scan += np.random.default_rng(0).uniform(0, 0.1, shape).astype(np.float32)
    found = conform(scan, affine, VOXEL_SIZE, FIELD_OF_VIEW)

    first = (found.affine[:3, 3] - affine[:3, 3]) / edge - (factor - 1) / 2
    np.testing.assert_allclose(first, np.rint(first), atol=1e-6)
    first = np.rint(first).astype(int)
    padded = np.pad(scan, 60)
    box = padded[
        tuple(slice(60 + f, 60 + f + factor * n) for f, n in zip(first, FIELD_OF_VIEW, strict=True))
    ]
    expected = block_reduce(box, (factor,) * 3, np.mean)
    inside = ball(FIELD_OF_VIEW, found.affine, radius=60.0) > 0
    ratio = found.image[inside] / expected[inside]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)


def test_there_and_back():
    shape, affine = GRIDS["2 mm"]
    scan = ball(shape, affine)
    found = conform(scan, affine, VOXEL_SIZE, FIELD_OF_VIEW)
    back = to_grid(found.image, found.affine, shape, affine)
    assert back.shape == shape
    assert np.corrcoef(back.ravel(), scan.ravel())[0, 1] > 0.98
    np.testing.assert_allclose(ndimage.center_of_mass(back), ndimage.center_of_mass(scan), atol=0.1)


def test_scale_and_offset_do_not_matter():
    shape, affine = GRIDS["2 mm"]
    scan = ball(shape, affine)
    reference = conform(scan, affine, VOXEL_SIZE, FIELD_OF_VIEW)
    for other in (1e4 * scan, 1e-6 * scan, (scan - 0.4) / 0.7):
        found = conform(other, affine, VOXEL_SIZE, FIELD_OF_VIEW)
        np.testing.assert_allclose(found.image, reference.image, atol=1e-4)
        np.testing.assert_array_equal(found.affine, reference.affine)


def test_the_neck_does_not_move_the_box():
    shape, affine = GRIDS["large field of view"]
    scan = ball(shape, affine)
    necked = scan.copy()
    necked[40:80, 45:85, :50] = np.maximum(necked[40:80, 45:85, :50], 0.7)
    found = conform(necked, affine, VOXEL_SIZE, FIELD_OF_VIEW)
    expected = conform(scan, affine, VOXEL_SIZE, FIELD_OF_VIEW)
    np.testing.assert_allclose(found.affine, expected.affine, atol=4.1)
