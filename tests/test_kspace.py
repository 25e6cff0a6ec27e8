"""What stands out in the k-space of a scan: put in at a known place, found there and marked."""

import numpy as np
import pytest

from qc_jax.scoring import kspace, planes
from qc_jax.scoring.copies import Copy

SIZES = (1.0, 1.25, 2.0)


@pytest.fixture(scope="module")
def scan():
    """A ball with structure in noise of one hundredth of its intensity, odd and even sizes."""
    rng = np.random.default_rng(0)
    shape = (64, 65, 48)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(a**2 for a in axes) < 0.6
    return (100 * inside + np.abs(rng.normal(0, 1, shape))).astype(np.float32)


def test_nothing_stands_out_in_a_plain_scan(scan):
    found = kspace.look(scan, SIZES)
    assert found.spikes == () and found.edges == () and planes.findings(found, ()) == []
    assert [plane.shape for plane in found.planes] == [(65, 64), (48, 64), (48, 65)]
    assert found.nyquist == (0.5, 0.4, 0.25)


def test_noise_is_that_of_the_scan():
    image = np.zeros((48, 40, 44))
    image[10:38, 10:30, 10:34] = 100
    image += np.random.default_rng(0).normal(0, 3, image.shape)
    assert kspace.look(image, SIZES).noise == pytest.approx(0.03, rel=0.1)


def test_corners_that_were_filled_with_zeros_hold_no_noise(scan):
    samples = np.fft.fftn(scan)
    for axis, n in enumerate(scan.shape):
        high = np.abs(np.fft.fftfreq(n)) > 0.4
        samples[(slice(None),) * axis + (high,)] = 0
    assert kspace.look(np.fft.ifftn(samples).real, SIZES).noise is None


@pytest.mark.parametrize("place", [(20, 10, 15), (44, 10, 15), (20, 55, 33), (13, 0, 0)])
def test_a_spike_is_found_at_its_sample(scan, place):
    samples = np.fft.fftn(scan)
    samples[place] += 0.1 * 100 * scan.size
    found = kspace.look(np.abs(np.fft.ifftn(samples)), SIZES)
    put = [float(np.fft.fftfreq(n, s)[i]) for n, s, i in zip(scan.shape, SIZES, place, strict=True)]
    (spike,) = found.spikes
    assert np.allclose(spike.frequency, put) or np.allclose(spike.frequency, np.negative(put))
    assert f"stripes every {1 / np.linalg.norm(put):.1f} mm" in spike.sentence
    marks = planes.of_k_space(found, ())[0].marks
    assert {m.kind for m in marks} == {"spike"} and len(marks) == 2
    assert any(np.allclose((m.x, m.y), put[:2]) for m in marks)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_edge_of_a_low_pass_is_found(scan, axis):
    samples = np.fft.fftn(scan)
    frequency = np.abs(np.fft.fftfreq(scan.shape[axis], SIZES[axis]))
    cut = 0.6 * frequency.max()
    samples[(slice(None),) * axis + (frequency > cut,)] = 0
    found = kspace.look(np.abs(np.fft.ifftn(samples)), SIZES)
    (edge,) = found.edges
    step = 1 / (scan.shape[axis] * SIZES[axis])
    assert edge.axis == axis and abs(edge.frequency - cut) <= step
    shown = [len(plane.marks) for plane in planes.of_k_space(found, ())]
    assert shown == [2 * (axis in axes) for axes in ((0, 1), (0, 2), (1, 2))]


def test_the_planes_are_the_highest_of_all_of_k_space(scan):
    small = scan[:12, :13, :10]
    level = small[small > small.mean()].mean()
    power = np.abs(np.fft.fftn((small - small.mean()) / level)) ** 2 / small.size
    found = kspace.look(small, SIZES)
    for plane, axis in zip(found.planes, (2, 1, 0), strict=True):
        expected = np.fft.fftshift(np.log10(power.max(axis=axis) + 1e-12)).T[::-1]
        np.testing.assert_allclose(plane, expected, atol=0.02)


def test_the_gap_of_copies_is_marked_on_its_axis(scan):
    found = kspace.look(scan, SIZES)
    copy = Copy(1, 0.25, 20.0, 0.1)
    axial, coronal, sagittal = planes.of_k_space(found, (copy,))
    assert [m.y for m in axial.marks][:2] == [-0.4, -0.35] and coronal.marks == []
    assert sagittal.marks[0].x == -0.4
    (text,) = planes.findings(found, (copy,))
    assert "one line in 4" in text and "0.050 cycles per mm" in text
    folded = Copy(1, 1.0, 80.0, 0.9)
    assert planes.of_k_space(found, (folded,))[0].marks == []
    assert planes.findings(found, (folded,)) == [folded.sentence]
