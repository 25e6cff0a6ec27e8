"""Stripes of a known frequency and amplitude, in a whole scan and in some of its slices."""

import numpy as np
import pytest

from qc_jax.scoring import kspace

SIZES = (1.0, 1.25, 2.0)
SHAPE = (64, 65, 48)


@pytest.fixture(scope="module")
def scan():
    """A ball with structure in noise of one hundredth of its intensity, odd and even sizes."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = sum(a**2 for a in axes) < 0.6
    return 100 * inside + rng.normal(0, 1, SHAPE)


def stripes(place):
    """Of amplitude 1, from one sample of k-space, and its frequency in cycles per mm."""
    turns = [np.arange(n) * i / n for n, i in zip(SHAPE, place, strict=True)]
    phase = turns[0][:, None, None] + turns[1][:, None] + turns[2]
    wanted = [i / (n * s) for i, n, s in zip(place, SHAPE, SIZES, strict=True)]
    return np.cos(2 * np.pi * phase), np.array(wanted)


def spoilt(scan, place, amplitude, slices=slice(None), axis=2):
    """The magnitude of the scan with stripes in some slices across an axis."""
    where = np.zeros(SHAPE[axis])
    where[slices] = amplitude * 100
    pattern, frequency = stripes(place)
    return np.abs(scan + np.expand_dims(where, [a for a in range(3) if a != axis]) * pattern), (
        frequency
    )


@pytest.mark.parametrize("amplitude", [0.1, 0.3])
def test_the_amplitude_of_stripes_in_the_head(scan, amplitude):
    pattern, _ = stripes((20, 10, 15))
    image = np.abs(scan) + 100 * amplitude * pattern * (np.abs(scan) > 50)
    (spike,) = kspace.look(image, SIZES).spikes
    assert spike.amplitude == pytest.approx(amplitude, rel=0.05) and spike.slices == ()


@pytest.mark.parametrize(("axis", "place"), [(0, (0, 16, 5)), (1, (14, 0, 9)), (2, (11, 20, 0))])
def test_slices_that_have_a_spike(scan, axis, place):
    image, frequency = spoilt(scan, place, 0.3, slice(20, 29), axis)
    spike = kspace.look(image, SIZES).spikes[0]
    found = np.array(spike.frequency)
    assert np.allclose(found, frequency, atol=0.02) or np.allclose(found, -frequency, atol=0.02)
    assert spike.axis == axis and spike.slices == tuple(range(20, 29))
    assert f"in 9 slices (20 to 28) along {'xyz'[axis]}" in spike.sentence


def test_one_slice(scan):
    spike = kspace.look(spoilt(scan, (11, 20, 0), 0.5, 24)[0], SIZES).spikes[0]
    assert spike.slices == (24,) and "in slice 24 along z" in spike.sentence


@pytest.mark.parametrize("change", [lambda x: x, lambda x: np.roll(x, 7, 0), np.abs])
def test_a_scan_without_stripes_has_none(scan, change):
    assert kspace.look(change(scan), SIZES).spikes == ()


def test_missing_lines_are_no_spikes(scan):
    samples = np.fft.fftn(scan)
    samples[:, 1::4] = 0
    assert kspace.look(np.abs(np.fft.ifftn(samples)), SIZES).spikes == ()


def test_stripes_too_faint_to_be_seen_are_none(scan):
    assert kspace.look(spoilt(scan, (20, 10, 15), 0.02)[0], SIZES).spikes == ()


def test_a_slab_is_no_spike(scan):
    """Its taper spreads the mean over the samples beside frequency 0."""
    assert kspace.look(scan[:, :, 20:30], SIZES).spikes == ()


def test_a_spike_beyond_an_edge_is_found(scan):
    """Motion and partial Fourier leave half of k-space, which looks as if it ended."""
    samples = np.fft.fftn(scan)
    samples[:, 12:32] = 0
    image, frequency = spoilt(np.abs(np.fft.ifftn(samples)), (20, 20, 15), 0.3)
    spike, *_ = kspace.look(image, SIZES).spikes
    assert np.allclose(np.abs(spike.frequency)[:2], np.abs(frequency)[:2])


def test_bright_air_is_no_head(scan):
    """Stripes over air that is brighter than a quarter of the head, in all slices."""
    pattern, _ = stripes((9, 12, 7))
    spike, *_ = kspace.look(np.abs(scan + 40 * pattern), SIZES).spikes
    assert spike.slices == ()
