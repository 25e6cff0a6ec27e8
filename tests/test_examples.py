"""The scripts in `examples/`, each at a small size."""

import importlib.util
from pathlib import Path

import numpy as np


def load(name: str):
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_loss_of_ones_own_is_learnt(optimised):
    values = load("own_loss").main(steps=20)
    assert np.mean(values[-5:]) < np.mean(values[:5]) - 0.05
