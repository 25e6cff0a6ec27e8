"""Numbers of a scan that would rule all others, and what is no magnitude image of a head."""

import math

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from qc_jax.data import nifti, values
from qc_jax.errors import ScanError
from qc_jax.scoring.conform import conform
from qc_jax.scoring.scan import prepare
from qc_jax.scoring.scores import dice

AFFINE = np.diag([4.0, 4, 4, 1])


@pytest.fixture(scope="module")
def scan(head):
    """A head at 4 mm, 0 to 1000 in whole numbers, in dark noise."""
    fine = ndimage.zoom(head.astype(np.float64), 2, order=1)
    noise = np.random.default_rng(0).rayleigh(5, fine.shape)
    return np.rint(np.hypot(1000 * fine, noise))


def prepared(data):
    """The scan on a model's grid, its warnings."""
    data, affine, warnings = prepare(nib.Nifti1Image(data, AFFINE))
    assert data.dtype == np.float32 and np.isfinite(data).all()
    return conform(data, affine, 4.0, (48, 56, 48)), warnings


def test_a_plain_scan_stays_as_it_is(scan):
    for data in (scan.astype(np.int16), scan.astype(np.float32)):
        found, _, warnings = prepare(nib.Nifti1Image(data, AFFINE))
        assert warnings == ()
        np.testing.assert_array_equal(found, scan)


def with_values(scan, where, value):
    data = scan.astype(np.float64)
    data[where] = value
    return data


HOT = {
    "one": (np.s_[30, 30, 20], 3e6),
    "one in air": (np.s_[1, 1, 1], 3e6),
    "one at the scale of float64": (np.s_[30, 30, 20], 1e300),
    "one below": (np.s_[30, 30, 20], -3e6),
    "one far below": (np.s_[30, 30, 20], -1e300),
    "a line": (np.s_[24, 10:18, 20], 1e5),
    "the corner of a plane": (np.s_[:3, :3, 0], 3e6),
    "one in ten thousand": (np.s_[2::16, 3::12, 5::40], 3e5),
    "ten times the brightest": (np.s_[24, 30, 20], 1e4),
    "infinite": (np.s_[30, 30, 20], np.inf),
    "infinite below": (np.s_[30, 30, 20], -np.inf),
}


@pytest.mark.parametrize("name", HOT)
def test_hot_voxels_do_not_rule_the_scale(scan, name):
    """One of 3000 times the head took 8 % off its volume."""
    data = with_values(scan, *HOT[name])
    expected, _ = prepared(scan)
    found, warnings = prepared(data)
    assert len(warnings) == 1 and ("far outside" in warnings[0] or "not finite" in warnings[0])
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert dice(found.mask, expected.mask) > 0.99
    close = np.isclose(found.image, expected.image, rtol=0.01, atol=0.01)
    assert 1 - close.mean() < 1e-3


def test_hot_voxels_of_a_file_with_slope(scan, tmp_path):
    stored = (scan / 2).astype(np.int16)
    stored[30, 30, 20] = 32767
    image = nib.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(2.0, 10.0)
    content = bytearray(image.to_bytes())
    header = np.ndarray((), nib.Nifti1Header.template_dtype, content)
    header["scl_slope"], header["scl_inter"] = 2.0, 10.0
    (tmp_path / "a.nii").write_bytes(content)
    data, _, warnings = prepare(nifti.read_image(tmp_path / "a.nii").image)
    assert data.max() < 1200 and "one at 6.55e+04; they count as" in warnings[0]


def test_vessels_and_fat_are_not_hot(scan):
    """On real heads the brightest is up to five times the 99.5th percentile."""
    data = with_values(scan, np.s_[20:22, 20:22, 20:22], 5 * np.percentile(scan, 99.5))
    assert prepared(data)[1] == ()


# -- Not finite ----------------------------------------------------------------------------------


def holes(scan, region):
    return np.where(region(*np.indices(scan.shape)), np.nan, scan)


IN_THE_HEAD = {
    "left half": lambda x, y, z: x < 24,
    "right half": lambda x, y, z: x >= 24,
    "front half": lambda x, y, z: y >= 30,
    "back half": lambda x, y, z: y < 28,
    "upper half": lambda x, y, z: z >= 24,
    "two thirds": lambda x, y, z: x < 32,
    "every seventh slice": lambda x, y, z: x % 7 == 3,
    "a slab": lambda x, y, z: (z > 20) & (z < 26),
    "an oblique half": lambda x, y, z: x + 0.5 * y < 38,
    "here and there": lambda x, y, z: (x * 7 + y * 3 + z * 5) % 50 == 0,
    "all": lambda x, y, z: x >= 0,
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", IN_THE_HEAD)
def test_a_part_of_the_head_that_is_not_finite_is_refused(scan, name, value):
    data = holes(scan, IN_THE_HEAD[name])
    data[np.isnan(data)] = value
    with pytest.raises(ScanError, match=r"^the image has \d+ voxels .*not finite .*; repair it"):
        prepare(nib.Nifti1Image(data, AFFINE))


def stripped(scan):
    """The head in nothing."""
    head = ndimage.binary_fill_holes(ndimage.gaussian_filter(scan, 1) > 100)
    return np.where(head, scan, 0.0), head


def test_a_background_that_is_not_finite_is_none(scan):
    data, head = stripped(scan)
    expected, _ = prepared(data)
    cases = {
        "around a head": np.where(head, data, np.nan),
        "around a head in a tight box": np.where(head, data, np.nan),
        "corners of a turned field of view": holes(data, lambda x, y, z: x + y < 12),
        "below the neck": holes(data, lambda x, y, z: z < 3),
        "few": holes(data, lambda x, y, z: (x == 20) & (y == 20) & (z > 20) & (z < 25)),
    }
    for name, spoilt in cases.items():
        found, warnings = prepared(spoilt)
        assert len(warnings) == 1 and "are not finite" in warnings[0], name
        assert dice(found.mask, expected.mask) > 0.97, name


# -- Margins -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["mean", "middle", "brightest", -1000.0, 1e5])
@pytest.mark.parametrize("widths", [((6, 6), (6, 6), (6, 6)), ((12, 0), (0, 0), (0, 0))])
def test_a_margin_of_one_value_is_background(scan, value, widths):
    known = {"mean": scan.mean(), "middle": 500, "brightest": scan.max()}
    fill = float(np.rint(known.get(value, value)))
    expected, _ = prepared(np.pad(scan, widths))
    found, warnings = prepared(np.pad(scan, widths, constant_values=fill))
    assert len(warnings) == 1 and f"a margin of {fill:g} (" in warnings[0]
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert dice(found.mask, expected.mask) > 0.99
    np.testing.assert_allclose(found.image, expected.image, atol=0.02)


def test_a_margin_beside_faces_of_air_and_of_a_standardised_scan(scan):
    standard = (scan - scan.mean()) / scan.std()
    expected, _ = prepared(standard)
    found, _ = prepared(np.pad(standard, ((4, 0), (4, 0), (0, 0)), constant_values=-1000))
    assert dice(found.mask, expected.mask) > 0.9
    air = scan * (scan > 60)
    expected, warnings = prepared(np.pad(air, ((4, 0), (0, 4), (0, 0))))
    assert warnings == ()
    for fill in (np.rint(air.mean()), -1000.0):
        found, warnings = prepared(np.pad(air, ((4, 0), (0, 4), (0, 0)), constant_values=fill))
        assert len(warnings) == 1 and f"a margin of {fill:g}" in warnings[0]
        assert dice(found.mask, expected.mask) > 0.99


def test_coarse_numbers_of_noise_are_no_margin(scan):
    """Whole numbers of a scan that goes to 80: each is frequent in the air."""
    coarse = np.rint(np.hypot(scan * 0.08, np.random.default_rng(6).rayleigh(3.5, scan.shape)))
    found, _, warnings = prepare(nib.Nifti1Image(coarse, AFFINE))
    assert warnings == ()
    np.testing.assert_array_equal(found, coarse)


def test_corners_of_a_turned_field_of_view_are_background(scan):
    """Filled with the mean, as tools do that resample."""
    fill = float(np.rint(scan.mean()))
    turned = ndimage.rotate(scan, 8, reshape=False, order=1, cval=fill)
    expected, _ = prepared(ndimage.rotate(scan, 8, reshape=False, order=1))
    found, warnings = prepared(turned)
    assert len(warnings) == 1 and "a margin of" in warnings[0]
    assert dice(found.mask, expected.mask) > 0.99


def test_a_head_in_the_middle_of_its_own_values(scan):
    """Standardised within the head, 0 around it; or the mean of the head around it."""
    data, head = stripped(scan)
    expected, warnings = prepared(data)
    assert warnings == ()
    standard = np.where(head, (data - data[head].mean()) / data[head].std(), 0.0)
    for spoilt in (standard, np.where(head, standard, np.nan), np.where(head, data, 500.0)):
        found, warnings = prepared(spoilt)
        assert any("a margin of" in warning for warning in warnings)
        assert dice(found.mask, expected.mask) > 0.95
    # Where it is darker than all of the head, the mask is right but not the scale.
    bright = np.where(head, np.maximum(data, 150), 0)
    expected, warnings = prepared(bright)
    assert warnings == ()
    for fill in (100.0, -3000.0):
        found, warnings = prepared(np.where(head, bright, fill))
        assert len(warnings) == 1 and "a margin of" in warnings[0]
        np.testing.assert_allclose(found.image, expected.image, atol=1e-3)


def test_a_background_below_a_standardised_head_is_one(scan):
    data, _ = stripped(scan)
    expected, _ = prepared(data)
    found, warnings = prepared((data - data.mean()) / data.std())
    assert not any("margin" in warning for warning in warnings)
    np.testing.assert_allclose(found.image, expected.image, atol=1e-3)


def test_backgrounds_that_are_dark_are_no_margins(scan):
    data, _ = stripped(scan)
    below = np.pad(scan, 8, constant_values=-1)
    for plain in (
        data,
        data + 50,
        data - 5000,
        below,
        np.pad(scan, 8),
        scan[10:-10, 10:-10, 10:-10],
    ):
        assert not any("margin" in warning for warning in prepared(plain)[1])


# -- No magnitude --------------------------------------------------------------------------------


def uni(scan, sigma=0.02):
    """What MP2RAGE makes of two inversions, the first with the contrast of the scan."""
    rng = np.random.default_rng(1)
    contrast = np.clip(scan / 1000, 0.02, 0.98) - 0.5
    second = np.where(scan > 50, 0.6 + 0.4 * scan / 1000, 0.0)
    first = second * (1 - np.sqrt(1 - 4 * contrast**2)) / (2 * contrast + 1e-9)
    noisy = [s + sigma * (rng.normal(size=(2, *scan.shape)).T @ [1, 1j]).T for s in (first, second)]
    return (noisy[0].conj() * noisy[1]).real / (np.abs(noisy) ** 2).sum(axis=0)


def phase(scan):
    rng = np.random.default_rng(2)
    x, y, z = np.indices(scan.shape)
    smooth = np.angle(np.exp(1j * (x / 5 + y / 9 + z / 12)))
    return np.where(scan > 50, smooth, rng.uniform(-math.pi, math.pi, scan.shape))


def of_scanner(image):
    return np.rint((image + 0.5) * 4095)


NO_MAGNITUDE = {
    "UNI": lambda scan: uni(scan),
    "UNI as the scanner stores it": lambda scan: of_scanner(uni(scan)),
    "UNI of much noise": lambda scan: of_scanner(uni(scan, 0.06)),
    "UNI in a margin": lambda scan: np.pad(of_scanner(uni(scan)), 5),
    "UNI interpolated": lambda scan: ndimage.shift(of_scanner(uni(scan)), 0.3, order=1),
    "phase": phase,
    "phase as the scanner stores it": lambda scan: np.rint(4096 / math.pi * phase(scan)),
    "phase from 0 on": lambda scan: np.rint((phase(scan) / math.pi + 1) * 2047.5),
    "phase within a mask": lambda scan: np.where(scan > 50, phase(scan), 0.0),
    "uniform noise": lambda scan: np.random.default_rng(3).integers(0, 4095, scan.shape) * 1.0,
}


@pytest.mark.parametrize("name", NO_MAGNITUDE)
def test_what_is_no_magnitude_is_refused(scan, name):
    """The head mask lay in the noise: "noise, severe (100 %)"."""
    with pytest.raises(ScanError, match=r"phase image (has|or)|a phase image has"):
        prepare(nib.Nifti1Image(NO_MAGNITUDE[name](scan), AFFINE))


def test_what_says_uni_says_what_to_take(scan):
    with pytest.raises(ScanError, match=r"MP2RAGE UNI image .*denoised.*UNIDEN.*INV2"):
        prepare(nib.Nifti1Image(uni(scan), AFFINE))


def test_magnitudes_are_no_phase_however_noisy_or_cropped(scan):
    rng = np.random.default_rng(4)

    def rician(sigma):
        return np.abs(scan + sigma * (rng.normal(size=(2, *scan.shape)).T @ [1, 1j]).T)

    data, head = stripped(scan)
    cases = {
        "UNI without its background": np.where(head, of_scanner(uni(scan)), 0.0),
        "UNI times INV2": of_scanner(uni(scan)) * scan,
        "noise alone": rng.normal(1000, 300, scan.shape),
        "standardised": (data - data[head].mean()) / data[head].std(),
        "tissue alone": scan[12:-12, 14:-14, 10:-14],
        **{f"noise of {sigma}": rician(sigma) for sigma in (30, 100, 300, 1000, 3000)},
    }
    for name, plain in cases.items():
        image = nib.Nifti1Image(plain, np.diag([5.0, 5, 5, 1]))
        assert prepare(image)[0].shape == plain.shape, name


def test_values_below_zero_are_said(scan):
    assert prepared(scan - 5000)[1][0].startswith("values below zero, down to -5")
    ringing = scan + np.random.default_rng(5).normal(0, 2, scan.shape) * (scan < 20)
    assert values.of_a_scan("a", ringing - 3)[1] == ()
