"""Pictures: sides, planes of a place, and colours that begin at the limit of detection."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from qc_jax.scoring import pictures
from qc_jax.scoring.scale import Range

SHAPE = (20, 24, 16)
COLOURS = Range(0.02, 2.0)


def test_the_worst_place_is_that_of_many_voxels_and_within_the_head():
    variance, mask = np.zeros(SHAPE), np.ones(SHAPE, bool)
    variance[10:14, 8:12, 5:9] = 1.0
    variance[2, 2, 2] = 5.0  # a single voxel
    variance[17:, 20:, 13:] = 9.0  # no head
    mask[16:, 19:, 12:] = False
    place = pictures.worst_place(variance, mask, voxel_size=4.0)
    assert all(low <= i < low + 4 for i, low in zip(place, (10, 8, 5), strict=True))


def test_the_axial_plane_has_left_on_the_left_and_the_front_above():
    image = np.zeros(SHAPE)
    image[:5, 20:, 8] = 1.0  # left and in front
    picture = pictures.axial(image, np.array([8]))
    rows, columns = np.nonzero(picture[..., 0])
    assert rows.max() < picture.shape[0] / 2 and columns.max() < picture.shape[1] / 2


def pixels(plane):
    picture = Image.open(io.BytesIO(base64.b64decode(plane.picture)))
    return np.asarray(picture.convert("RGB")) / 255


def test_three_planes_of_a_place_without_and_with_the_map():
    image, variance = np.full(SHAPE, 0.5), np.zeros(SHAPE)
    variance[12, 6, 4] = 2.0
    pairs = pictures.over_planes(image, variance, COLOURS, (12, 6, 4), 2.0)
    assert [pair.plain.name for pair in pairs] == ["axial", "coronal", "sagittal"]
    for pair in pairs:
        assert np.ptp(pixels(pair.plain), axis=-1).max() == 0
        ((row, column),) = np.argwhere(np.ptp(pixels(pair.mapped), axis=-1) > 0.3)
        # The lines cross in the middle of the voxel, of 2 mm.
        assert pair.cross == (2 * column + 1, 2 * row + 1)
        assert pair.mapped[2:] == pair.plain[2:]
    assert [(pair.plain.width, pair.plain.height) for pair in pairs] == [
        (40, 48),
        (40, 32),
        (48, 32),
    ]


@pytest.mark.parametrize(("variance", "seen"), [(0.01, False), (0.02, False), (0.021, True)])
def test_a_map_is_seen_from_just_above_the_limit_on(variance, seen):
    image = np.full(SHAPE, 0.5)
    slices = np.array([4, 8])
    plain = pictures.axial(image, slices)
    over = pictures.over_slices(image, np.full(SHAPE, variance), COLOURS, slices)
    assert (np.abs(over - plain).max() > 0.1) == seen


def test_the_slices_lie_in_the_cranium():
    mask = np.zeros((4, 4, 60), bool)
    mask[..., 10:50] = True
    slices = pictures.slices_of(mask)
    assert slices[0] == 22 and slices[-1] == 45 and len(slices) == 8
