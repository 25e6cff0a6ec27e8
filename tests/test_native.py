"""What the k-space of a scan says on its own grid, against closed forms."""

import numpy as np
import pytest

from qc_jax import native

SHELLS = slice(0, native.SCAN_SIZE - 4)
LEVELS, PEAKS = slice(0, 30, 3), slice(1, 30, 3)


def ball(shape=(40, 48, 44), radius=12.0):
    grids = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij")
    inside = np.sqrt(sum(g**2 for g in grids)) < radius
    texture = 1 + 0.2 * np.random.default_rng(0).random(shape)
    return (inside * texture).astype(np.float32)


def test_white_noise_has_the_power_of_its_variance_in_every_shell():
    image = 1 + 0.1 * np.random.default_rng(0).standard_normal((40, 48, 44)).astype(np.float32)
    found = native.describe(image, (1, 1, 1))
    np.testing.assert_allclose(found.scan[LEVELS][1:], (np.log(0.01) + 5) / 3, atol=0.1)
    # Of an exponential distribution the mean of the logarithm is Euler's constant below.
    flatness = found.scan[2:30:3][2:8]
    np.testing.assert_allclose(flatness, np.euler_gamma - 1, atol=0.1)
    assert found.scan[31] == pytest.approx(-1, abs=0.1)  # log10 of the noise


def test_the_unit_of_a_scan_does_not_count():
    image = ball()
    one, other = native.describe(image, (1, 1, 1)), native.describe(1000 * image, (1, 1, 1))
    np.testing.assert_allclose(one.scan, other.scan, atol=1e-3)
    np.testing.assert_allclose(one.axes, other.axes, atol=1e-3)


def test_axes_are_treated_alike():
    image = ball() + 0.05 * np.random.default_rng(1).random((40, 48, 44)).astype(np.float32)
    one = native.describe(image, (1, 1.5, 2))
    other = native.describe(np.transpose(image, (2, 0, 1)), (2, 1, 1.5))
    np.testing.assert_allclose(other.scan, one.scan, atol=2e-3)
    np.testing.assert_allclose(other.axes, one.axes[[2, 0, 1]], atol=2e-3)
    for axis, was in enumerate((2, 0, 1)):
        np.testing.assert_allclose(other.slices[axis], one.slices[was], atol=5e-3)


def test_a_spike_is_a_peak_in_its_shell():
    image = ball()
    k_space = np.fft.fftn(image)
    where = (9, 5, 7)
    radius = 2 * np.sqrt(sum((w / n) ** 2 for w, n in zip(where, image.shape, strict=True)))
    k_space[where] += np.abs(k_space).max()
    plain = native.describe(image, (1, 1, 1))
    spoilt = native.describe(np.abs(np.fft.ifftn(k_space)), (1, 1, 1))
    rise = (spoilt.scan - plain.scan)[PEAKS]
    assert np.argmax(rise) == int(radius / 0.125) and rise.max() > 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ghost_lies_in_line_with_the_head_and_at_its_distance(axis):
    image = ball((96, 96, 96), 20.0)
    ghost = image + 0.1 * np.roll(image, 48, axis)
    plain, spoilt = (native.describe(x, (1, 1, 1)) for x in (image, ghost))
    beside, half = -4, 1 + 8 + 10 + 12
    rise = spoilt.axes[:, beside] - plain.axes[:, beside]
    assert np.argmax(rise) == axis and rise[axis] > 1 and np.delete(rise, axis).max() < 0.1
    jump = spoilt.axes[:, half] - plain.axes[:, half]
    assert np.argmax(jump) == axis


def test_a_head_that_touches_both_borders_is_bright_there():
    image = ball()
    cut = image[10:30, 14:34, 12:32]
    plain, spoilt = native.describe(image, (1, 1, 1)), native.describe(cut, (1, 1, 1))
    low, high = plain.axes[:, -3:-1], spoilt.axes[:, -3:-1]
    np.testing.assert_allclose(low, -4, atol=1e-5)
    assert (high > -1).all()


def test_damage_to_some_slices_is_seen_in_these():
    image = ball((48, 48, 48), 20.0)
    noise = 0.3 * np.random.default_rng(0).standard_normal((48, 48, 4))
    image[:, :, 20:24] += np.abs(noise).astype(np.float32)
    found = native.describe(image, (1, 1, 1)).slices[2]
    high = found[:, 3]
    assert high[20:24].min() > np.delete(high, range(20, 24)).max() + 0.1


def test_cells_hold_the_means_of_their_slices():
    slices = tuple(
        np.random.default_rng(a).random((n, native.SLICE_SIZE)) for a, n in enumerate((8, 12, 6))
    )
    found = native.Native(np.zeros(native.SCAN_SIZE), np.zeros((3, native.AXIS_SIZE)), slices)
    # The scan has 1 mm, stored back to front along y; the grid 2 mm and cells of 4 mm.
    affine = np.diag([1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = 11.0
    grid_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid_affine[:3, 3] = 0.5
    cells = native.on_grid(found, affine, grid_affine, (4, 6, 4), 2).slices
    assert cells.shape == (3, 3, native.SLICE_SIZE)
    np.testing.assert_allclose(cells[0, :2], slices[0].reshape(2, 4, -1).mean(axis=1), rtol=1e-6)
    expected = slices[1][::-1].reshape(3, 4, -1).mean(axis=1)
    np.testing.assert_allclose(cells[1], expected, rtol=1e-6)
    # Beyond the scan goes on what its last slice has.
    np.testing.assert_allclose(cells[2, 1], (slices[2][4] + slices[2][5] * 3) / 4, rtol=1e-6)


def test_an_empty_image_has_numbers_all_the_same():
    found = native.describe(np.zeros((8, 9, 10)), (1, 1, 1))
    for numbers in (found.scan, found.axes, *found.slices):
        assert np.isfinite(numbers).all()
