"""Artefacts of a scanner, and its protocol, against closed forms, numpy and scipy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from qc_jax.augment import acquisition, fold_over, local, poses, sampling, scanner
from qc_jax.augment.protocol import Axes, Protocol, draw_protocol
from qc_jax.errors import ConfigError
from tests.scanning import MM, PLAIN, SHAPE, scan, smooth_head

# -- Artefacts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("phase", "amplitude"), [(0.6, 0.0), (0.0, 0.4), (0.7, 0.3)])
def test_every_other_line_gives_one_ghost_of_known_height(axis, phase, amplitude):
    shape = [6, 6, 6]
    shape[axis] = 48
    point = np.zeros(shape)
    point[1, 1, 1] = 1.0
    k_space = jnp.asarray(np.fft.fftn(point), jnp.complex64)[None]
    found = scanner.modulate(k_space, axis, phase, amplitude, 2.0)
    line = np.moveaxis(np.abs(np.fft.ifftn(np.asarray(found[0]))), axis, 0)[:, 1, 1]
    head, ghost = (
        abs(np.cos(phase) + 1j * amplitude * np.sin(phase)),
        abs(amplitude * np.cos(phase) + 1j * np.sin(phase)),
    )
    assert line[1] == pytest.approx(head, abs=1e-5)
    assert line[25] == pytest.approx(ghost, abs=1e-5)
    assert np.delete(line, [1, 25]).max() < 1e-5


@pytest.mark.parametrize("severity", [0.1, 0.5])
def test_severity_of_ghosting_is_that_of_the_first_ghost(severity):
    point = np.zeros((48, 4, 4))
    point[5, 1, 1] = 1.0
    k_space = jnp.asarray(np.fft.fftn(point), jnp.complex64)[None]
    plan = scanner.Plan(Axes(1, 0, 2), True, np.array([48.0, 4, 4]), np.eye(1))
    every_other = 0
    for seed in range(12):
        found = scanner.ghosting(jax.random.key(seed), k_space, severity, plan)
        line = np.abs(np.fft.ifftn(np.asarray(found[0])))[:, 1, 1]
        assert 0.4 * severity < np.sort(line)[-2] / line[5] < 1.5 * severity
        if np.sort(line)[-3] < 1e-4:
            every_other += 1
            assert line[29] / line[5] == pytest.approx(severity, rel=0.1)
    assert 2 < every_other < 10


@pytest.mark.parametrize("period", [3, 4, 6])
def test_period_n_gives_ghosts_at_an_nth_of_the_field_of_view(period):
    point = np.zeros((48, 4, 4))
    point[5, 1, 1] = 1.0
    k_space = jnp.asarray(np.fft.fftn(point), jnp.complex64)[None]
    found = scanner.modulate(k_space, 0, 0.0, 0.4, period, 0.3)
    line = np.abs(np.fft.ifftn(np.asarray(found[0])))[:, 1, 1]
    apart = 48 // period
    assert line[5] == pytest.approx(1.0, abs=1e-5)
    assert line[[5 + apart, (5 - apart) % 48]] == pytest.approx(0.2, abs=1e-5)
    assert np.delete(line, [5, 5 + apart, (5 - apart) % 48]).max() < 1e-5


def test_a_pulse_spoils_its_part_of_the_lines():
    k_space = jnp.ones((1, 20, 2, 2), jnp.complex64)
    found = scanner.modulate(k_space, 0, 0.5, 0.0, 2.0, 0.0, (0.25, 0.5))
    spoilt = np.fft.fftshift(np.abs(np.asarray(found)[0, :, 0, 0] - 1) > 1e-6)
    np.testing.assert_array_equal(np.flatnonzero(spoilt), np.arange(5, 11))


def test_stripes_of_a_slice_have_their_wavelength_direction_and_slice():
    k_space = jnp.asarray(np.fft.fftn(np.ones((32, 24, 6))), jnp.complex64)
    location = jnp.zeros((6, 3), int).at[2].set(jnp.asarray([5, -3, 0]))
    amplitude = jnp.zeros(6).at[2].set(0.4)
    spoilt = scanner.add_slice_spikes(k_space, 2, location, amplitude, jnp.full(6, 0.3))
    image = np.fft.ifftn(np.asarray(spoilt))
    np.testing.assert_allclose(np.delete(image, 2, axis=2), 1.0, atol=1e-5)
    x, y = np.mgrid[:32, :24]
    stripes = 0.4 * np.exp(2j * np.pi * (5 * x / 32 - 3 * y / 24) + 0.3j)
    np.testing.assert_allclose(image[:, :, 2] - 1, stripes, atol=1e-5)


def test_spikes_are_drawn_by_the_logarithm_of_their_wavelength():
    fov, shape = np.array([200.0, 240.0, 220.0]), (200, 240, 220)
    where = np.asarray(scanner.locations(jax.random.key(0), 4000, shape, fov))
    length = 1 / np.linalg.norm(where / fov, axis=1)
    low, middle, high = np.log([2.2, np.sqrt(2.2 * 60), 60.0])
    assert np.log(length).min() > low - 0.1 and np.log(length).max() < high + 0.3
    assert np.mean(np.log(length) < middle) == pytest.approx(0.5, abs=0.04)
    direction = where / fov * length[:, None]
    np.testing.assert_allclose((direction**2).mean(axis=0), 1 / 3, atol=0.03)
    in_plane = np.asarray(scanner.locations(jax.random.key(0), 50, shape, fov, (0, 2)))
    assert not in_plane[:, 1].any()


def test_truncation_resolves_its_width_and_smoothing_is_a_gaussian():
    point = np.zeros((128, 2, 2))
    point[64, 1, 1] = 1.0
    k_space = jnp.asarray(np.fft.fftn(point), jnp.complex64)[None]
    smooth = np.fft.ifftn(np.asarray(scanner.smooth(k_space, 0, 6.0, 128.0)[0])).real[:, 1, 1]
    expected = ndimage.gaussian_filter1d(point[:, 1, 1], 6.0 / np.sqrt(8 * np.log(2)), mode="wrap")
    np.testing.assert_allclose(smooth, expected, atol=2e-4)
    sharp = np.asarray(scanner.truncate(k_space, 0, 8.0, 128.0)[0])[:, 0, 0]
    np.testing.assert_array_equal(np.abs(sharp) > 0, np.abs(np.fft.fftfreq(128)) <= 1 / 16)


@pytest.mark.parametrize("shots", [1, 2, 4])
def test_lines_follow_each_other_in_their_order(shots):
    order = np.argsort(np.fft.fftshift(np.asarray(poses.moments(12, shots))))
    expected = np.concatenate([np.arange(12)[first::shots] for first in range(shots)])
    np.testing.assert_array_equal(order, expected)


def test_every_line_is_that_of_the_head_in_its_pose():
    image = jnp.asarray(smooth_head())
    along = sampling.encoding(PLAIN, SHAPE, MM).along
    pose = poses.pose_numbers(24, 2, jnp.asarray([0.3, 0.6]))
    turns, shifts = jnp.zeros((3, 3)), jnp.asarray([[0.0, 0, 0], [0, 2, 0], [1, 0, -1]])
    numbers = (pose[:, None, None], jnp.zeros((28, 1), int), jnp.zeros(20, int))
    found = np.asarray(poses.sample_moving(image, along, MM, turns, shifts, numbers))[0]
    moved = [np.fft.fftn(np.roll(image, shift, (0, 1, 2))) for shift in shifts.astype(int)]
    expected = np.take_along_axis(np.stack(moved), np.asarray(pose)[None, :, None, None], axis=0)[0]
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_turning_a_head_of_oblong_voxels_turns_it_in_millimetres():
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) for n in (48, 24, 40)), indexing="ij")
    blob = lambda x, y: np.exp(-((x - 8) ** 2 + y**2 + z**2) / 18)  # noqa: E731
    found = poses.place(
        jnp.asarray(blob(x, 2 * y)), jnp.asarray([0.0, 0, 10.0]), jnp.zeros(3), (1, 2, 1)
    )
    angle = np.deg2rad(10)
    back = np.cos(angle) * x + np.sin(angle) * 2 * y, -np.sin(angle) * x + np.cos(angle) * 2 * y
    np.testing.assert_allclose(found, blob(*back), atol=5e-3)


def test_motion_leaves_the_centre_where_it_is():
    image = jnp.asarray(smooth_head())
    along = sampling.encoding(PLAIN, SHAPE, MM).along
    still = np.asarray(sampling.sample(image, along))
    for seed in range(4):
        args = (jax.random.key(seed), image, along, MM, 4.0, (0, 2))
        moved = np.asarray(poses.sample_random(*args))
        assert moved[0, 0, 0, 0] == pytest.approx(still[0, 0, 0, 0], rel=1e-4)
        assert not np.allclose(moved, still, rtol=1e-2, atol=1e-2)


# -- The whole -----------------------------------------------------------------------------------

IN_K_SPACE = [kind for kind in acquisition.KINDS if kind.name != "fold_over"]


@pytest.mark.parametrize("kind", IN_K_SPACE, ids=lambda kind: kind.name)
def test_every_kind_spoils_and_its_none_does_not(kind):
    image = smooth_head()
    clean = scan(image, PLAIN)
    np.testing.assert_allclose(scan(image, PLAIN, {kind.name: kind.none}), clean, atol=1e-5)
    severity = kind.severity(0.8)
    first = scan(image, PLAIN, {kind.name: severity})
    assert np.abs(first - clean).max() > 0.01
    np.testing.assert_array_equal(first, scan(image, PLAIN, {kind.name: severity}))
    with jax.disable_jit():
        eager = scan(image, PLAIN, {kind.name: severity})
    np.testing.assert_allclose(first, eager, atol=1e-4)


@pytest.mark.parametrize("kind", ["ghosting", "missing_lines", "residue"])
def test_copies_never_lie_along_the_readout(kind):
    image = np.zeros(SHAPE, np.float32)
    image[9:14, 10:18, 7:12] = 1.0
    severity = acquisition.kind_called(kind).severity(0.9)
    for seed in range(3):
        found = scan(image, PLAIN, {kind: severity}, key=seed)
        assert found[:, :8].max() < 1e-4 and found[:, 20:].max() < 1e-4


def test_a_region_holds_the_artefact_and_the_rest_is_the_clean_scan():
    image = smooth_head()
    protocol = dataclasses.replace(PLAIN, snr_db=30.0)
    region = np.asarray(local.slab(SHAPE, 2, 0.5, 2.0, 0.1))
    bad = scan(image, protocol, {"ghosting": 1.0})
    found = scan(image, protocol, {"ghosting": 1.0}, region=region)
    np.testing.assert_array_equal(found[..., :8], scan(image, protocol)[..., :8])
    np.testing.assert_allclose(found[..., 12:], bad[..., 12:], atol=1e-6)


def test_a_slab_has_soft_edges_and_half_its_weight_at_its_ends():
    weight = np.asarray(local.slab((4, 100, 5), 1, 0.3, 0.6, 0.1))[0, :, 0]
    assert weight[36:54].min() == 1.0 and weight[:24].max() == 0.0 == weight[66:].max()
    assert weight[29:31].mean() == pytest.approx(0.5) and weight.sum() == pytest.approx(30, abs=0.1)
    for seed in range(20):
        share = float(jnp.mean(local.random_slab(jax.random.key(seed), (20, 22, 24))))
        assert 0.05 < share < 0.65


def test_narrow_leaves_its_share_outside():
    box = np.array([[-70.0, -90.0, -80.0], [70.0, 90.0, 80.0]])
    narrow = fold_over.narrow(Protocol((192.0, 256.0, 256.0)), box, 0, 0.25, 1.0)
    assert narrow.field_of_view[0] == pytest.approx(105, abs=1)
    assert narrow.voxel_size == Protocol().voxel_size
    assert narrow.centre[0] - narrow.field_of_view[0] / 2 == pytest.approx(-70, abs=1e-6)


def test_head_box_is_that_of_the_head():
    image = np.zeros((40, 50, 60), np.float32)
    image[10:30, 5:45, 20:60] = 1.0
    image[0, 0, 0] = 5.0  # a lone voxel
    np.testing.assert_allclose(
        fold_over.head_box(image, (2.0, 1.0, 1.0)), [[-20, -20, -10], [20, 20, 30]]
    )


def test_protocols_that_are_drawn_hold_the_head():
    box = np.array([[-78.0, -95.0, -110.0], [75.0, 105.0, 95.0]])
    drawn = [draw_protocol(np.random.default_rng(seed), box, 0.7) for seed in range(60)]
    for protocol in drawn:
        fov, centre = np.array(protocol.field_of_view), np.array(protocol.centre)
        assert np.all(centre - fov / 2 <= box[0] + 1e-3) and np.all(
            centre + fov / 2 >= box[1] - 1e-3
        )
        in_plane = np.delete(protocol.voxel_size, protocol.axes.partition)
        assert np.all(in_plane < 1.41) and min(protocol.voxel_size) >= 0.699
    assert len({protocol.axes for protocol in drawn}) > 3
    assert {protocol.slices for protocol in drawn} == {True, False}
    # Of a third the field is a cube, much wider than the head from side to side.
    cubes = [p for p in drawn if np.ptp(p.field_of_view) < 32]
    assert 10 < len(cubes) < 30 and min(p.field_of_view[0] for p in cubes) > 190


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"matrix": (24, 28, 2)}, "voxels of 1 x 1 x 10 mm are out of range"),
        ({"field_of_view": (6.0, 28.0, 20.0)}, "voxels of 0.25 x 1 x 1 mm are out of range"),
        ({"matrix": (24, 28, 2.5)}, "needs whole numbers"),
        ({"axes": Axes(0, 0, 2)}, "0, 1 and 2, each of them once"),
        ({"zero_filling": (1.0, 3.0, 1.0)}, "zero_filling"),
        ({"partial_phase": 0.4}, "partial_phase 0.4 has to be from 0.5 to 1"),
        ({"apodisation": -0.1}, "apodisation"),
        ({"coils": 0}, "coils 0"),
        ({"correlation": 1.0}, "correlation"),
        ({"snr_db": np.nan}, "snr_db"),
        ({"slices": True, "elliptical": True}, "slices are not encoded across"),
        ({"centre": (0.0, np.nan, 0.0)}, "finite"),
        ({"field_of_view": (1.0, 2.0)}, "three numbers"),
    ],
)
def test_what_no_scanner_does_is_refused_in_one_sentence(fields, said):
    with pytest.raises(ConfigError, match=said) as caught:
        dataclasses.replace(PLAIN, **fields)
    assert "\n" not in str(caught.value)


def test_bad_heads_and_artefacts_are_refused_in_one_sentence():
    image = smooth_head()
    with pytest.raises(ConfigError, match="outside the field of view from 28 to 52 mm"):
        scan(image, dataclasses.replace(PLAIN, centre=(40.0, 0.0, 0.0)))
    with pytest.raises(ConfigError, match="'zipper' is no artefact of an acquisition; take fold_"):
        scan(image, PLAIN, {"zipper": 1.0})
    with pytest.raises(ConfigError, match="property of the protocol"):
        scan(image, PLAIN, {"fold_over": 0.2})
    with pytest.raises(ConfigError, match="no size in mm"):
        scan(image, PLAIN, voxel_size=(1.0, 0.0, 1.0))
    with pytest.raises(ConfigError, match="holds no head"):
        scan(np.zeros(SHAPE, np.float32), PLAIN)
    box = fold_over.head_box(image, MM)
    with pytest.raises(ConfigError, match="along axis 1 nothing folds over"):
        fold_over.narrow(PLAIN, box, 1, 0.2)
    with pytest.raises(ConfigError, match=r"share 0\.7"):
        fold_over.narrow(PLAIN, box, 0, 0.7)


@pytest.mark.parametrize("severities", [{}, {"ghosting": 0.4}, {"motion": 3.0}])
def test_scans_of_one_head_share_its_k_space(severities):
    image = smooth_head()
    region = local.random_slab(jax.random.key(1), SHAPE)
    still = acquisition.lying_still(image, MM, PLAIN)
    np.testing.assert_allclose(still[0], np.fft.fftn(image), atol=0.01)
    found = scan(image, PLAIN, severities, region=region, still=still)
    np.testing.assert_allclose(found, scan(image, PLAIN, severities, region=region), atol=1e-5)
