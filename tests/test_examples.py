"""The scripts in `examples/`, each at a small size."""

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qc_jax import augment, models


def load(name: str):
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_loss_of_ones_own_is_learnt(optimised):
    values = load("own_loss").main(steps=20)
    assert np.mean(values[-5:]) < np.mean(values[:5]) - 0.05


def test_a_source_of_ones_own_is_drawn(tmp_path):
    image = np.zeros((24, 24, 24), np.float32)
    image[8:16, 8:16, 8:16] = 1.0
    example = load("own_source")
    example.main(image, tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 1000
    # A quarter of a cycle out of phase: the square of the derivative is added to that of the image.
    drifted = augment.to_image(example.add_drift(augment.to_k_space(image), 0, 1.0))
    frequency = np.fft.fftfreq(24)[:, None, None]
    derivative = np.fft.ifftn(np.fft.fftn(image) * frequency).imag
    np.testing.assert_allclose(drifted, np.hypot(image, derivative), atol=1e-4)


def box() -> np.ndarray:
    image = np.zeros((20, 24, 22), np.float32)
    image[5:15, 6:18, 5:17] = 1.0
    return image


def test_a_scan_is_corrupted(tmp_path):
    nib.Nifti1Image(200 * box(), np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    example = load("corrupt_scan")
    example.main(tmp_path / "scan.nii.gz", tmp_path / "corrupted.png")
    assert (tmp_path / "corrupted.png").stat().st_size > 1000
    shown = example.corrupted(200 * box(), 0.6)
    assert list(shown) == ["clean", *(s.name for s in augment.ALL_SOURCES), "noise and blur"]
    np.testing.assert_array_equal(shown.pop("clean"), box())
    for volume in shown.values():
        assert volume.max() <= 1 and np.abs(volume - box()).mean() > 1e-3


def test_severities_are_drawn_from_mild_to_severe(tmp_path, monkeypatch):
    nib.Nifti1Image(200 * box(), np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    example = load("severities")
    monkeypatch.setattr(example, "KINDS", ("noise", "fold_over"))
    example.main(tmp_path / "scan.nii.gz", tmp_path / "severities.png")
    assert (tmp_path / "severities.png").stat().st_size > 1000
    noisy, narrow = np.array_split(np.array([*example.scanned(box(), (1, 1, 1))], object), 2)
    harm = [float(np.abs(volume - box()).mean()) for volume in noisy]
    assert harm[0] > 1e-3 and harm == sorted(harm)
    widths = [volume.shape[0] for volume in narrow]
    assert widths == sorted(widths, reverse=True) and widths[-1] < 10


def test_a_map_is_read(tmp_path, model_path, head, capsys):
    nib.Nifti1Image(head, np.diag([8.0, 8, 8, 1])).to_filename(tmp_path / "scan.nii.gz")
    example = load("read_map")
    model = models.load_model(model_path)
    cause = example.main(tmp_path / "scan.nii.gz", tmp_path / "map.png", model)
    assert cause in model.description.sources and cause in capsys.readouterr().out
    assert (tmp_path / "map.png").stat().st_size > 1000
    assert example.worst_slice(np.pad(np.ones((2, 2, 1)), [(0, 0), (0, 0), (3, 2)])) == 3


def test_a_pytorch_loader_spoils_every_image_anew(tmp_path):
    pytest.importorskip("torch")
    images = load("pytorch_loader").main([box()] * 3, tmp_path / "batch.png")
    assert images.shape == (3, 1, *box().shape) and images.min() >= 0 and images.max() <= 1
    assert not np.allclose(images[0], images[1]) or not np.allclose(images[1], images[2])
    assert (tmp_path / "batch.png").stat().st_size > 1000
