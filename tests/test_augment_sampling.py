"""From a head to k-space and back against numpy's and scipy's transforms and distributions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

from qc_jax.augment import coils, sampling
from qc_jax.augment.protocol import Axes, Protocol
from tests.scanning import MM, PLAIN, SHAPE, changed, scan, smooth_head

# -- Sampling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(1, 0, 2), (0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("slices", [False, True])
def test_on_its_own_grid_a_head_is_itself(axes, slices):
    image = smooth_head()
    found = scan(image, dataclasses.replace(PLAIN, axes=Axes(*axes), slices=slices))
    np.testing.assert_allclose(found, image, atol=2e-6)


def test_k_space_is_numpys_fourier_transform():
    image = smooth_head()
    found = sampling.sample(jnp.asarray(image), sampling.encoding(PLAIN, SHAPE, MM).along)
    np.testing.assert_allclose(found[0], np.fft.fftn(image), atol=2e-3)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("lines", [12, 14])
def test_fold_over_adds_what_is_a_field_of_view_away(axis, lines):
    image = smooth_head(margin=2)
    small = changed(PLAIN, axis, field_of_view=float(lines), matrix=lines)
    offset = (SHAPE[axis] - lines) // 2
    expected = np.zeros((lines, *np.moveaxis(image, axis, 0).shape[1:]))
    for n, plane in enumerate(np.moveaxis(image, axis, 0)):
        expected[(n - offset) % lines] += plane
    found = np.moveaxis(scan(image, small), axis, 0)
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_along_the_readout_nothing_folds_over():
    image = smooth_head(margin=2)
    small = changed(PLAIN, 1, field_of_view=16.0, matrix=16)
    np.testing.assert_allclose(scan(image, small), image[:, 6:22], atol=5e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_larger_field_of_view_adds_air(axis):
    image = smooth_head()
    large = changed(PLAIN, axis, field_of_view=SHAPE[axis] + 10.0, matrix=SHAPE[axis] + 10)
    padding = [(5, 5) if a == axis else (0, 0) for a in range(3)]
    np.testing.assert_allclose(scan(image, large), np.pad(image, padding), atol=5e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_zero_filling_is_scipys_resampling(axis):
    image = smooth_head()
    found = scan(image, changed(PLAIN, axis, zero_filling=1.5))
    # Scipy keeps the first voxel where it was; a scan the edge of its field of view.
    shift = np.fft.fftfreq(SHAPE[axis]) * (0.5 / 1.5 - 0.5)
    ramp = np.exp(2j * np.pi * shift).reshape([-1 if a == axis else 1 for a in range(3)])
    moved = np.fft.ifft(np.fft.fft(image, axis=axis) * ramp, axis=axis)
    expected = np.abs(signal.resample(moved, round(1.5 * SHAPE[axis]), axis=axis))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_other_voxels_are_a_band_limited_head():
    """A Gaussian, whose transform is known, between the voxels of its image."""
    x = np.arange(48) - 23.5
    image = np.exp(-(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2) / (2 * 4.0**2))
    protocol = Protocol((44.2, 46.0, 52.5), (34, 40, 36), centre=(1.3, -0.4, 2.2), snr_db=np.inf)
    affine = protocol.affine(np.diag([1.0, 1, 1, 1]), image.shape, MM)
    where = [affine[a, a] * np.arange(n) + affine[a, 3] - 23.5 for a, n in enumerate((34, 40, 36))]
    expected = np.exp(-sum(np.square(g) for g in np.meshgrid(*where, indexing="ij")) / 32)
    np.testing.assert_allclose(scan(image, protocol), expected, atol=1e-4)


def test_slices_are_means_over_their_thickness():
    image = smooth_head()
    thick = changed(dataclasses.replace(PLAIN, slices=True), 2, matrix=5)
    expected = image.reshape(24, 28, 5, 4).mean(axis=-1)
    np.testing.assert_allclose(scan(image, thick), expected, atol=2e-6)


# -- Coverage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.625, 0.75])
def test_partial_fourier_leaves_the_lines_of_one_side_out(share):
    image = smooth_head((32, 28, 20))
    protocol = Protocol((32.0, 28.0, 20.0), (32, 28, 20), snr_db=np.inf, partial_phase=share)
    k_space = np.fft.fft(image, axis=0)
    lines = np.fft.fftfreq(32) * 32
    kept = lines >= 32 * (0.5 - share)
    assert kept.mean() == share
    expected = np.abs(np.fft.ifft(k_space * kept[:, None, None], axis=0))
    np.testing.assert_allclose(scan(image, protocol), expected, atol=5e-6)


def test_the_phase_of_the_head_shows_where_lines_are_missing():
    image = smooth_head()
    with_phase = dataclasses.replace(PLAIN, phase=(30.0, -20.0, 0.0))
    np.testing.assert_allclose(scan(image, with_phase), image, atol=5e-6)
    x, y = np.arange(24) - 11.5, np.arange(28) - 13.5
    turned = image * np.exp(3e-3j * x**2)[:, None, None] * np.exp(-2e-3j * y**2)[:, None]
    kept = np.fft.fftfreq(24) >= -0.25
    expected = np.fft.ifft(np.fft.fft(turned, axis=0) * kept[:, None, None], axis=0)
    found = scan(image, dataclasses.replace(with_phase, partial_phase=0.75))
    np.testing.assert_allclose(found, np.abs(expected), atol=5e-6)


def test_partial_fourier_of_half_a_point_keeps_half_its_height():
    """Of a symmetric real object with half of k-space and the centre, the magnitude is that of the
    object and its Hilbert transform: a point falls to (1 + 1 / n) / 2 and gets wings."""
    image = np.zeros((32, 6, 6), np.float32)
    image[16, 3, 3] = 1.0
    protocol = Protocol((32.0, 6.0, 6.0), (32, 6, 6), snr_db=np.inf, partial_phase=0.5)
    line = scan(image, protocol)[:, 3, 3]
    assert line[16] == pytest.approx(0.5, abs=1e-5)
    distance = np.arange(1, 12)
    wings = np.abs((1 - (-1.0) ** distance) / (1 - np.exp(2j * np.pi * distance / 32))) / 32
    np.testing.assert_allclose(line[16 + distance], wings, atol=1e-5)


def test_elliptical_coverage_is_a_quarter_of_pi():
    readout, both = sampling.coverage(Protocol(elliptical=True))
    assert np.broadcast_to(both, (192, 256, 256)).mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert readout.all()


@pytest.mark.parametrize(("apodisation", "voxels"), [(0.0, 1.2067), (1.0, 2.0)])
def test_width_of_a_point_with_and_without_a_hann_window(apodisation, voxels):
    """Full width at half maximum of sinc and of the transform of Hann's window, in voxels."""
    image = np.zeros((64, 4, 4), np.float32)
    image[32, 2, 2] = 1.0
    kwargs = {"apodisation": apodisation, "zero_filling": (2.0, 1.0, 1.0), "snr_db": np.inf}
    line = scan(image, Protocol((64.0, 4.0, 4.0), (64, 4, 4), **kwargs))[:, 2, 2]
    fine = np.abs(signal.resample(np.asarray(line, complex), 64 * 64))
    if not apodisation:  # the magnitude has kinks at its zeros
        fine = np.abs(np.interp(np.arange(0, 128, 1 / 32), np.arange(128), line))
    assert (fine > fine.max() / 2).sum() * 64 / len(fine) == pytest.approx(voxels, abs=0.08)


@pytest.mark.parametrize("taper", [0.25, 0.5, 1.0])
def test_taper_is_scipys_window(taper):
    position = np.linspace(-1, 1, 101)
    expected = signal.windows.tukey(101, taper)
    np.testing.assert_allclose(sampling.tukey(position, taper), expected, atol=1e-12)


def test_integers_are_rounded_and_reach_the_largest():
    image = smooth_head()
    found = scan(image, dataclasses.replace(PLAIN, largest=255))
    np.testing.assert_allclose(found, np.rint(255 * image / image.max()), atol=1.0)
    assert found.max() == 255 and np.all(found == np.rint(found))


# -- Coils ---------------------------------------------------------------------------------------


def test_noise_of_one_coil_is_rician():
    k_space = jnp.fft.fftn(jnp.ones((32, 32, 31)))[None]
    noisy = coils.noise(jax.random.key(0), k_space, 5.0, np.eye(1))
    magnitude = np.asarray(sampling.reconstruct(noisy, (32, 32, 31)))
    sigma = np.sqrt(10**-0.5 / 2)
    rice = stats.rice(1 / sigma, scale=sigma)
    assert magnitude.mean() == pytest.approx(rice.mean(), rel=0.01)
    assert magnitude.var() == pytest.approx(rice.var(), rel=0.03)


@pytest.mark.parametrize("number", [2, 4])
def test_noise_of_several_coils_is_non_central_chi(number):
    k_space = jnp.fft.fftn(jnp.ones((24, 24, 31))) * jnp.full((number, 1, 1, 1), number**-0.5)
    noisy = coils.noise(jax.random.key(1), k_space, 0.0, np.eye(number))
    squared = np.square(np.asarray(sampling.reconstruct(noisy, (24, 24, 31))))
    sigma2 = 0.5
    chi2 = stats.ncx2(2 * number, 1 / sigma2, scale=sigma2)
    assert squared.mean() == pytest.approx(chi2.mean(), rel=0.01)
    assert squared.var() == pytest.approx(chi2.var(), rel=0.04)
    assert stats.kstest(squared.ravel()[::7], chi2.cdf).pvalue > 0.001


def test_noise_is_correlated_as_said_and_widens_the_floor():
    """The power is that of independent coils, its variance the sum of the squared correlations."""
    protocol = Protocol(coils=4, correlation=0.5)
    mixing = coils.mixing(protocol)
    correlation = mixing @ mixing.T
    expected = [[1, 0.5, 0.25, 0.5], [0.5, 1, 0.5, 0.25], [0.25, 0.5, 1, 0.5], [0.5, 0.25, 0.5, 1]]
    np.testing.assert_allclose(correlation, expected, atol=1e-6)
    signal_space = jnp.fft.fftn(jnp.ones((24, 24, 31)))[None] * jnp.full((4, 1, 1, 1), 0.5)
    noisy = coils.noise(jax.random.key(2), signal_space, 0.0, mixing)
    noise = np.fft.ifftn(np.asarray(noisy - signal_space), axes=(1, 2, 3)).reshape(4, -1)
    found = np.corrcoef(np.concatenate([noise.real, noise.imag], axis=1))
    np.testing.assert_allclose(found, correlation, atol=0.02)
    power = (np.abs(noise) ** 2).sum(axis=0)
    assert power.mean() == pytest.approx(4.0, rel=0.02)
    assert power.var() == pytest.approx((correlation**2).sum(), rel=0.05)


def test_coils_see_the_head_as_the_sum_of_squares_of_their_profiles():
    image = smooth_head()
    protocol = dataclasses.replace(PLAIN, coils=4)
    position = [(np.arange(n) - (n - 1) / 2) for n in SHAPE]
    x, y, z = (coils.profiles(protocol, a, p) for a, p in enumerate(position))
    product = x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
    expected = image * np.sqrt((np.abs(product) ** 2).sum(axis=0))
    np.testing.assert_allclose(scan(image, protocol), expected, atol=1e-5)
    middle = np.sqrt((np.abs(product[:, 12, 14, 10]) ** 2).sum())
    assert middle == pytest.approx(1.0, abs=0.01)


def test_residue_is_a_copy_half_a_field_of_view_away():
    image = np.zeros((24, 6, 6), np.float32)
    image[4:9, 2:4, 2:4] = 1.0
    spoilt = coils.leave_residue(jnp.fft.fftn(jnp.asarray(image))[None], 0, [0.3])
    found = np.fft.ifftn(np.asarray(spoilt[0])).real
    np.testing.assert_allclose(found, 0.85 * image + 0.15 * np.roll(image, 12, 0), atol=1e-6)
