"""The k-space artefacts against numpy's complex FFT, Rice's distribution and geometry."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from qc_jax import augment
from qc_jax.augment.blur import low_pass
from qc_jax.augment.noise import noise as with_noise
from qc_jax.augment.spike import add_spike
from qc_jax.augment.wrap import mask_lines, regular_lines

SHAPES = [(12, 10, 8), (9, 11, 7), (8, 7, 9)]


def image_of(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random(shape, np.float32))


def complex_image(k_space):
    return np.fft.ifftn(np.asarray(k_space))


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1), (4, 1, 2), (3, 5, 1)])
def test_to_k_space_is_the_fourier_transform(shape):
    image = image_of(shape)
    np.testing.assert_allclose(augment.to_k_space(image), np.fft.fftn(image), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "location", [(1, 2, 3), (3, -2, -1), (0, 0, 2), (0, 0, 0), (4, 0, 0), (0, 5, 4), (4, 5, 4)]
)
def test_spike_is_one_sample_of_the_complex_k_space(shape, location):
    image = image_of(shape)
    expected = np.fft.fftn(np.asarray(image))
    location = tuple(index % size for index, size in zip(location, shape, strict=True))
    expected[location] += 0.7 * abs(expected[0, 0, 0]) * np.exp(0.4j)
    found = complex_image(add_spike(augment.to_k_space(image), location, 0.7, 0.4))
    np.testing.assert_allclose(found, np.fft.ifftn(expected), atol=2e-6)


def test_spike_draws_stripes_of_its_direction_and_frequency():
    location = (3, -5, 2)
    k_space = add_spike(augment.to_k_space(jnp.ones((16, 24, 20))), location, 0.2)
    spectrum = np.abs(np.fft.fftn(np.asarray(augment.to_image(k_space)) - 1))
    strongest = np.unravel_index(np.argmax(spectrum), spectrum.shape)
    assert strongest in [(3, 19, 2), (13, 5, 18)]  # the spike or its opposite


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_filtering_lines_multiplies_the_complex_k_space(shape, axis):
    rng = np.random.default_rng(axis)
    transfer = rng.normal(size=max(shape)) + 1j * rng.normal(size=max(shape))
    k_space = add_spike(augment.to_k_space(image_of(shape)), (1, 2, 3), 0.5, 1.0)
    along = [1, 1, 1]
    along[axis] = -1
    expected = np.fft.fftn(complex_image(k_space)) * transfer[: shape[axis]].reshape(along)
    found = augment.filter_lines(k_space, axis, lambda lines: jnp.asarray(transfer[: len(lines)]))
    np.testing.assert_allclose(complex_image(found), np.fft.ifftn(expected), atol=2e-6)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.7])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blur_keeps_the_middle_of_the_complex_k_space(axis, ratio):
    image = image_of((12, 10, 9))
    frequency = np.abs(np.fft.fftfreq(image.shape[axis]))
    along = [1, 1, 1]
    along[axis] = -1
    kept = (frequency <= 0.5 / ratio).reshape(along)
    expected = np.fft.ifftn(np.fft.fftn(np.asarray(image)) * kept)
    found = complex_image(low_pass(augment.to_k_space(image), axis, ratio))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_blur_widens_a_point_by_its_ratio():
    point = jnp.zeros((96, 1, 1)).at[48, 0, 0].set(1.0)
    for ratio in (2.0, 4.0, 8.0):
        line = np.asarray(augment.to_image(low_pass(augment.to_k_space(point), 0, ratio)))
        width = (line[:, 0, 0] > line.max() / 2).sum()  # a sinc: 1.2 times the new voxel
        assert abs(width - 1.2 * ratio) <= 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masked_lines_are_those_of_the_complex_k_space(axis):
    image = image_of((12, 10, 9))
    lines = np.rint(np.fft.fftfreq(image.shape[axis]) * image.shape[axis])
    kept = np.where((lines % 3 == 1) & (lines != 0), 0.0, 1.0)
    along = [1, 1, 1]
    along[axis] = -1
    expected = np.fft.ifftn(np.fft.fftn(np.asarray(image)) * kept.reshape(along))
    masked = mask_lines(augment.to_k_space(image), axis, lambda lines: lines % 3 == 1)
    np.testing.assert_allclose(complex_image(masked), expected, atol=2e-6)


@pytest.mark.parametrize("every", [2, 3, 4])
def test_wrap_puts_ghosts_a_fraction_of_the_field_of_view_apart(every):
    point = jnp.zeros((48, 3, 3)).at[5, 1, 1].set(1.0)
    masked = mask_lines(augment.to_k_space(point), 0, lambda lines: regular_lines(lines, 1 / every))
    line = np.asarray(augment.to_image(masked))[:, 1, 1]
    ghosts = np.flatnonzero(line > 0.1)
    np.testing.assert_array_equal(ghosts, sorted((5 + np.arange(every) * 48 // every) % 48))


@pytest.mark.parametrize("proportion", [0.1, 0.3, 0.5, 0.7])
def test_regular_lines_have_their_proportion_and_spare_the_centre(proportion):
    masked = np.asarray(regular_lines(np.arange(-100, 100), proportion))
    assert masked.mean() == pytest.approx(proportion, abs=0.01)
    assert not masked[100]


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 15.0, 30.0])
def test_noise_has_its_snr_in_both_channels(snr_db):
    image = image_of((32, 31, 30))
    clean = augment.to_k_space(image)
    noise = complex_image(with_noise(jax.random.key(1), clean, snr_db)) - complex_image(clean)
    noise = np.stack([noise.real, noise.imag])
    measured = 10 * np.log10(np.mean(np.asarray(image) ** 2) / np.mean((noise**2).sum(axis=0)))
    assert measured == pytest.approx(snr_db, abs=0.2)
    assert noise[0].std() == pytest.approx(noise[1].std(), rel=0.02)
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] == pytest.approx(0, abs=0.03)
    assert stats.kurtosis(noise.ravel()) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("snr_db", [-5.0, 5.0, 20.0])
def test_magnitude_of_noise_is_rician(snr_db):
    k_space = augment.to_k_space(jnp.ones((32, 32, 31)))
    magnitude = np.asarray(augment.to_image(with_noise(jax.random.key(2), k_space, snr_db)))
    sigma = np.sqrt(10 ** (-snr_db / 10) / 2)
    rice = stats.rice(1 / sigma, scale=sigma)
    assert magnitude.mean() == pytest.approx(rice.mean(), rel=0.01)
    assert magnitude.var() == pytest.approx(rice.var(), rel=0.03)
    assert stats.skew(magnitude.ravel()) == pytest.approx(float(rice.stats("s")), abs=0.05)


def test_noise_after_low_pass_stays_out_of_the_removed_lines():
    k_space = with_noise(jax.random.key(0), augment.to_k_space(image_of((16, 12, 10))), 0.0)
    spectrum = np.abs(np.fft.fftn(complex_image(low_pass(k_space, 0, 2.0))))
    removed = np.abs(np.fft.fftfreq(16)) > 0.25
    assert spectrum[removed].max() < 1e-3 < spectrum[~removed].min()


@pytest.mark.parametrize("source", augment.SOURCES, ids=lambda source: source.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_source(source, shape):
    """Identity at none, same key same result, usable under jit, vmap and grad."""
    k_space = augment.to_k_space(image_of(shape))
    key = jax.random.key(3)
    unchanged = source.apply(key, k_space, jnp.asarray(source.none))
    np.testing.assert_allclose(unchanged, k_space, atol=1e-4)

    severe = jnp.asarray(source.severity(0.9))
    first = source.apply(key, k_space, severe)
    assert not np.allclose(first, k_space, atol=1e-2)
    jitted = jax.jit(source.apply)(key, k_space, severe)
    np.testing.assert_allclose(jitted, first, atol=1e-3)
    keys = jax.random.split(key, 8)
    mapped = jax.jit(jax.vmap(source.apply, (0, None, None)))(keys, k_space, severe)
    assert not np.allclose(mapped, mapped[:1], atol=1e-2)

    def mean(image):
        return jnp.mean(augment.to_image(source.apply(key, augment.to_k_space(image), severe)))

    chex.assert_tree_all_finite(jax.jit(jax.grad(mean))(image_of(shape)))


@pytest.mark.parametrize("source", augment.SOURCES, ids=lambda source: source.name)
def test_the_more_severe_the_further_from_the_image(source):
    image = image_of((48, 48, 48))
    distances = []
    for fraction in (0.0, 0.5, 1.0):
        severity = jnp.asarray([source.severity(fraction)])
        out = [
            augment.apply_sources(jax.random.key(i), image, (source,), severity) for i in range(8)
        ]
        distances.append(np.mean([1 - np.corrcoef(image.ravel(), o.ravel())[0, 1] for o in out]))
    assert distances[0] < distances[1] < distances[2]
