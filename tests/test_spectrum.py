"""The spectrum of a window against a plain FFT of all of k-space, and artefacts seen in it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qc_jax import augment, spectrum
from qc_jax.augment import kspace


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
    striped = augment.rescale(kspace.to_image(kspace.add_spike(k_space, (9, 3, 5), 0.5)))
    assert (shells(striped)[:, 1] - clean[:, 1]).max() > 0.5  # a peak
    blurred = kspace.to_image(kspace.low_pass(k_space, 1, 4.0))
    profile = np.asarray(spectrum.describe(blurred[None])[0, 9:18])
    assert profile[4:].max() < profile[1] - 1  # an edge


def test_a_window_without_anything_in_it_is_finite():
    assert np.isfinite(spectrum.describe(jnp.zeros((1, 8, 8, 8)))).all()
