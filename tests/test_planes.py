"""Pictures of a scan at its own resolution: sides, windows, outline."""

import base64
import io

import numpy as np
from PIL import Image

from qc_jax.scoring import planes

SHAPE, SIZES, MIDDLE = (20, 24, 16), (1.0, 1.0, 2.0), (10, 12, 8)


def pixels(plane):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(plane.picture))).convert("RGB"))


def test_sides_are_where_they_are_written():
    data = np.zeros(SHAPE)
    data[:5, 20:, 12:] = 1.0  # left, in front and above
    data[:5, 20:, 8], data[:5, 12, 12:], data[10, 20:, 12:] = 1.0, 1.0, 1.0
    axial, coronal, sagittal = planes.of_scan(data, SIZES, MIDDLE, 1.0)
    assert (axial.width, axial.height) == (20, 24) and (coronal.height, sagittal.width) == (32, 24)
    for plane, left in ((axial, True), (coronal, True), (sagittal, False)):
        rows, columns = np.nonzero(pixels(plane)[..., 0])
        height, width = pixels(plane).shape[:2]
        assert rows.max() < height / 2
        assert columns.max() < width / 2 if left else columns.min() > width / 2
    assert axial.sides == ("L", "R") and axial.ends == ("A", "P")
    assert sagittal.sides == ("P", "A") and sagittal.ends == ("S", "I")


def test_the_window_of_the_air_shows_what_that_of_the_scan_does_not():
    data = np.full(SHAPE, 0.02)
    plain = pixels(planes.of_scan(data, SIZES, MIDDLE, 1.0)[0])
    air = pixels(planes.of_scan(data, SIZES, MIDDLE, planes.AIR)[0])
    assert plain.max() == 5 and air.min() == 51


def test_air_that_was_masked_is_told_from_dark_air():
    data = np.full((40, 40, 40), 100.0)
    data[:20] = 0
    assert planes.is_masked(data, planes.brightest(data))
    data[:20] = 1.0
    assert not planes.is_masked(data, planes.brightest(data))


def test_the_outline_is_the_border_and_leaves_the_rest():
    data, region = np.full(SHAPE, 0.5), np.zeros(SHAPE, bool)
    region[5:15, 5:15, 4:12] = True
    picture = pixels(planes.outlined(data, region, SIZES, MIDDLE, 1.0)[0])
    coloured = np.ptp(picture.astype(int), axis=-1) > 50
    assert coloured.sum() == 36 and picture[0, 0].tolist() == [128, 128, 128]


def test_a_fine_scan_has_pictures_of_bounded_size():
    data = np.zeros((1100, 20, 20), np.float32)
    assert pixels(planes.of_scan(data, SIZES, (0, 0, 0), 1.0)[0]).shape[1] == 367


def test_a_thumbnail_is_small_and_says_whose_it_is():
    made = planes.thumbnail(np.ones((64, 64, 64)), (1, 1, 1), (32, 32, 32), 1.0)
    assert made.startswith(b"\x89PNG") and b"qc_jax" in made and len(made) < 2000
    assert Image.open(io.BytesIO(made)).size == (288, 96)
