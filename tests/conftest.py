"""A model and a head small enough for tests: 8 mm, an untrained network, calibrated scores."""

import pytest

from experiments.faults import tiny


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """See `tiny.write_model`."""
    return tiny.write_model(tmp_path_factory.mktemp("model") / "student.safetensors")


@pytest.fixture(scope="session")
def head():
    """See `tiny.make_head`."""
    return tiny.make_head()
