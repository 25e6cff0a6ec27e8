"""Copies of the head: found where they were put, and not where there is none."""

import numpy as np
import pytest
from scipy import ndimage

from qc_jax.scoring.copies import AXES, WHOLE_FIELD, Copy, find_copies

SIZE = (2.0, 2.0, 2.0)
SHAPE = (112, 128, 112)


def head(shape=SHAPE, centre=(0.0, 0.0, 0.0)):
    """A ball with folds in it, radius 68 mm."""
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 2.0 for n in shape], indexing="ij")
    radius = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)))
    folds = ndimage.gaussian_filter(rng.normal(size=shape), 1.0)
    image = np.where(radius < 68, 1.0 + 0.25 * folds / folds.std(), 0.0)
    return np.maximum(image, 0.0).astype(np.float32)


def scan(image, noise=0.02):
    """With Rician noise."""
    rng = np.random.default_rng(1)
    real, imaginary = rng.normal(0, noise, (2, *image.shape))
    return np.hypot(image + real, imaginary).astype(np.float32)


CLEAN = head()


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.15])
def test_no_copy_of_a_clean_head(noise):
    assert find_copies(scan(CLEAN, noise), SIZE) == ()


def test_no_copy_after_half_a_voxel_in_a_mask_or_in_zeros():
    noisy = scan(CLEAN)
    moved = 0.5 * (noisy + np.roll(noisy, 1, axis=1))
    assert find_copies(moved, SIZE) == ()
    assert find_copies(np.where(CLEAN > 0, noisy, 0), SIZE) == ()
    assert find_copies(np.pad(noisy, 8), SIZE) == ()


@pytest.mark.parametrize("kind", ["noise", "stripes"])
def test_damage_to_one_half_does_not_fold_over(kind):
    """It goes from one border of the field of view to the other, as what folds over does."""
    bad = scan(CLEAN, 0.5)
    if kind == "stripes":
        x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
        bad = np.abs(CLEAN + 0.5 * np.exp(1j * (0.5 * x + 0.1 * y - 0.4 * z))).astype(np.float32)
    half = np.where(np.arange(SHAPE[2]) < SHAPE[2] // 2, bad, CLEAN)
    assert not [copy for copy in find_copies(half, SIZE) if copy.share == WHOLE_FIELD]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("strength", [0.1, 0.3])
def test_a_ghost_half_a_field_away(axis, strength):
    ghost = np.roll(CLEAN, SHAPE[axis] // 2, axis=axis)
    found = find_copies(scan(np.hypot(CLEAN, strength * ghost)), SIZE)
    assert [copy.axis for copy in found] == [axis]
    assert found[0].share == 0.5 and found[0].distance == SHAPE[axis]
    # A copy with a third of the head's intensity counts as head, where it is measured less well.
    assert found[0].strength == pytest.approx(strength, rel=0.2 if strength < 0.2 else 0.4)


def test_a_ghost_a_quarter_away():
    ghost = np.roll(CLEAN, 32, axis=1) + np.roll(CLEAN, -32, axis=1)
    (found,) = find_copies(scan(np.hypot(CLEAN, 0.1 * ghost)), SIZE)
    assert found.axis == 1 and found.share == pytest.approx(0.25) and found.distance == 64


def test_zeros_around_the_field_of_view_do_not_count():
    ghost = np.roll(CLEAN, 64, axis=1)
    padded = np.pad(scan(np.hypot(CLEAN, 0.1 * ghost)), ((3, 8), (20, 10), (0, 5)))
    (found,) = find_copies(padded, SIZE)
    assert found.axis == 1 and found.share == pytest.approx(0.5) and found.distance == 128


def test_where_the_air_is_masked_a_strong_copy_is_found_in_the_head():
    both = CLEAN + 0.5 * np.roll(CLEAN, 40, axis=1)
    masked = np.where(CLEAN > 0, both, 0.0).astype(np.float32)
    (found,) = find_copies(masked, SIZE)
    assert found.axis == 1 and found.distance == 80


def test_stripes_are_no_copies():
    stripes = 0.2 * np.cos(2 * np.pi * np.arange(128) / 14)[:, None]
    assert find_copies(scan(np.abs(CLEAN + stripes)), SIZE) == ()


@pytest.mark.parametrize("axis", [0, 1])
def test_fold_over(axis):
    """Positions a field of view apart have the same k-space, so they add up."""
    length = 56
    lacking = (SHAPE[axis] - length) // 2
    parts = np.moveaxis(CLEAN, axis, 0)
    folded = parts[lacking : lacking + length].copy()
    folded[-lacking:] += parts[:lacking]
    folded[:lacking] += parts[-lacking:]
    (found,) = find_copies(scan(np.moveaxis(folded[:length], 0, axis)), SIZE)
    assert found.axis == axis and found.share == WHOLE_FIELD and found.distance == 2 * length
    assert "wrap-around" in found.sentence and AXES[axis] in found.sentence
    assert found.extent > 0.2


def test_a_head_that_was_cut_off_on_both_sides_is_not_folded():
    assert find_copies(scan(head(centre=(0, 20, 0))[:, 40:-40]), SIZE) == ()


def test_sentences_name_both_causes_axis_and_distance():
    said = Copy(1, 0.5, 128.0, 0.2).sentence
    assert said == (
        "copies of the head along y (front-back), half of the field of view (128 mm) away, 20% of "
        "its intensity: ghosting or wrap-around"
    )
    assert "1/3 of the field of view" in Copy(0, 1 / 3, 64.0, 0.2).sentence
    assert "29% of the field of view" in Copy(0, 0.29, 64.0, 0.2).sentence


@pytest.mark.parametrize("shape", [(4, 64, 64), (64, 64, 1), (40, 40, 40)])
def test_nothing_to_find_in_nothing(shape):
    assert find_copies(np.zeros(shape, np.float32), SIZE) == ()
    assert find_copies(np.ones(shape, np.float32), SIZE) == ()


@pytest.mark.parametrize("length", [168, 169, 170])
def test_fold_over_of_any_number_of_planes(length):
    """Planes that fill no bin are left out in the middle: heads go on over the border."""
    parts = np.repeat(CLEAN, 3, axis=0)  # of 2/3 mm, three to a bin
    lacking = (len(parts) - length) // 2
    folded = parts[lacking : lacking + length].copy()
    folded[-lacking:] += parts[:lacking]
    beyond = parts[lacking + length :]
    folded[: len(beyond)] += beyond
    (found,) = find_copies(scan(folded), (2 / 3, 2.0, 2.0))
    assert found.axis == 0 and found.share == WHOLE_FIELD


def test_a_clear_copy_is_not_irregular():
    ghost = np.roll(CLEAN, 64, axis=1)
    (found,) = find_copies(scan(np.hypot(CLEAN, 0.1 * ghost)), SIZE)
    assert found.spread == pytest.approx(1.0, abs=0.35) and not found.irregular
    assert found.sentence.endswith("ghosting or wrap-around")


def test_a_copy_in_a_smear_is_irregular():
    """The head lies in many places along an axis, and in one of them a little more."""
    smear = sum(0.05 * np.roll(CLEAN, lag, axis=1) for lag in range(20, 110, 6))
    ghost = 0.1 * np.roll(CLEAN, 50, axis=1)
    found = [c for c in find_copies(scan(CLEAN + smear + ghost), SIZE) if c.share != WHOLE_FIELD]
    assert found and found[0].spread > 1.5
