"""The scripts in `examples/`, each at a small size."""

import importlib.util
from pathlib import Path

import numpy as np

from qc_jax import augment


def load(name: str):
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
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
