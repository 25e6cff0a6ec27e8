"""The spectrum of a window and of a scan against plain FFTs, and artefacts seen in it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qc_jax import augment, spectrum
from qc_jax.augment import kspace
from qc_jax.augment.blur import low_pass
from qc_jax.augment.spike import add_spike
from qc_jax.augment.wrap import mask_lines


def by_numpy(window: np.ndarray) -> np.ndarray:
    """Every number from the full complex FFT, frequency by frequency."""
    taper = np.ones(window.shape)
    for axis, size in enumerate(window.shape):
        taper *= np.expand_dims(np.hanning(size + 2)[1:-1], [a for a in range(3) if a != axis])
    power = np.abs(np.fft.fftn((window - window.mean()) * taper)) ** 2 / (taper**2).sum()
    frequency = np.stack(np.meshgrid(*[2 * np.abs(np.fft.fftfreq(n)) for n in window.shape],
                                     indexing="ij"))  # fmt: skip
    found = []
    for along in frequency:
        for bin_ in range(9):
            inside = (along > (bin_ - 1) / 8) & (along <= bin_ / 8)
            found.append((np.log(power[inside].mean() + 1e-6) + 5) / 3)
    radius = np.linalg.norm(frequency, axis=0)
    edges = [*np.arange(9) / 8, 1.25, 1.75]
    for low, high in itertools.pairwise(edges):
        inside = power[(radius > low + 1e-9) & (radius <= high + 1e-9)]
        level = np.log(inside.mean() + 1e-6)
        found += [(level + 5) / 3, np.log(inside.max() + 1e-6) - level - 3]
        found.append(level - np.log(inside + 1e-6).mean() - 1)
    return np.array(found)


@pytest.mark.parametrize("shape", [(32, 32, 32), (16, 24, 20)])
def test_against_numpy(shape):
    window = np.random.default_rng(0).random(shape, np.float32)
    found = spectrum.describe(window[None])
    assert found.shape == (1, spectrum.SIZE)
    np.testing.assert_allclose(found[0], by_numpy(window), atol=2e-3)


def ripple_and_echoes_by_numpy(scan: np.ndarray) -> np.ndarray:
    """The numbers of a whole scan beyond those of a window, from the full complex FFT."""
    power = np.abs(np.fft.fftn(scan - scan.mean())) ** 2 / scan.size
    frequency = np.meshgrid(*[2 * np.fft.fftfreq(n) for n in scan.shape], indexing="ij")
    radius = np.linalg.norm(frequency, axis=0)
    echo = np.fft.ifftn(power * ((radius > 0.15 + 1e-6) & (radius <= 0.9 + 1e-6))).real
    found = []
    for axis, size in enumerate(scan.shape):
        others = tuple(a for a in range(3) if a != axis)
        lines = np.log(power + 1e-6).mean(axis=others)[1 : size // 2 + 1]
        ripple = np.convolve(lines, [-0.5, 1, -0.5], "valid") ** 2
        found += [np.log(np.sqrt(b.mean()) + 1e-3) + 2.5 for b in np.array_split(ripple, 6)]
        along = np.moveaxis(echo, axis, 0)[:, 0, 0] / echo[0, 0, 0]
        jumps = np.abs(np.convolve(along[size // 12 : size // 2 + 2], [-0.5, 1, -0.5], "valid"))
        found += [np.log(b.max() + 1e-4) + 5 for b in np.array_split(jumps, 6)]
    return np.array(found)


@pytest.mark.parametrize("shape", [(32, 48, 40), (48, 30, 36)])
def test_ripple_and_echoes_against_numpy(shape):
    scan = np.random.default_rng(0).random(shape, np.float32)
    found = spectrum.describe_scan(scan[None])
    assert found.shape == (1, spectrum.SCAN_SIZE)
    np.testing.assert_allclose(found[0, : spectrum.SIZE], by_numpy(scan), atol=2e-3)
    np.testing.assert_allclose(
        found[0, spectrum.SIZE :], ripple_and_echoes_by_numpy(scan), atol=5e-3
    )


def test_white_noise_has_its_variance_at_every_frequency():
    windows = np.random.default_rng(0).normal(0, 0.1, (20, 32, 32, 32)).astype(np.float32)
    profiles = np.exp(3 * np.asarray(spectrum.describe(windows))[:, :27] - 5)
    np.testing.assert_allclose(profiles.mean(axis=0), 0.01, rtol=0.1)


def test_each_artefact_leaves_its_mark():
    axes = np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij")
    head = jnp.asarray((np.linalg.norm(axes, axis=0) < 0.8) * (0.6 + 0.2 * np.sin(9 * axes[0])))
    shells = lambda image: np.asarray(spectrum.describe(image[None])[0, 27:]).reshape(10, 3)  # noqa: E731
    clean = shells(head)
    noisy = shells(augment.corrupt(jax.random.key(0), head, augment.SOURCES[1], 0.75))
    assert (noisy[5:, 0] > clean[5:, 0] + 0.25).all()  # a floor
    k_space = kspace.to_k_space(head)
    striped = augment.rescale(kspace.to_image(add_spike(k_space, (9, 3, 5), 0.5)))
    assert (shells(striped)[:, 1] - clean[:, 1]).max() > 0.5  # a peak
    blurred = kspace.to_image(low_pass(k_space, 1, 4.0))
    profile = np.asarray(spectrum.describe(blurred[None])[0, 9:18])
    assert profile[4:].max() < profile[1] - 1  # an edge


def test_missing_lines_ripple_and_ghosts_echo():
    noise = np.random.default_rng(0).normal(size=(48, 48, 48))
    head = np.zeros(noise.shape, np.float32)
    head[12:36, 10:38, 14:34] = 1 + 0.2 * noise[12:36, 10:38, 14:34]
    k_space = kspace.to_k_space(jnp.asarray(head))
    every_other = mask_lines(k_space, 1, lambda lines: lines % 2 == 1)
    shifted = augment.rescale(jnp.asarray(head + 0.3 * np.roll(head, 16, axis=0)))
    after = lambda image: np.asarray(spectrum.describe_scan(image[None]))[0, 57:].reshape(3, 2, 6)  # noqa: E731
    clean = after(jnp.asarray(head))
    wrapped, ghosted = after(augment.rescale(kspace.to_image(every_other))), after(shifted)
    assert (wrapped[1, 0] - clean[1, 0]).min() > 3.0  # along the axis of the lines
    assert (wrapped[::2, 0] - clean[::2, 0]).max() < 0.5
    assert (wrapped[1, 1] - clean[1, 1])[5] > 1.0  # half of the field of view away
    assert np.abs(wrapped[::2, 1] - clean[::2, 1]).max() < 0.5
    assert (ghosted[0, 1] - clean[0, 1])[2:5].max() > 1.0  # a third of the field of view away
    assert np.abs(ghosted[1:, 1] - clean[1:, 1]).max() < 0.5


def test_a_window_without_anything_in_it_is_finite():
    for shape in ((8, 8, 8), (4, 8, 6)):
        assert np.isfinite(spectrum.describe_scan(jnp.zeros((1, *shape)))).all()
