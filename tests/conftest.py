"""A model and a head small enough for tests: 8 mm, an untrained network, calibrated scores.

Most of a test's time is compilation.  All processes of a run, and the programs that they start,
share what has been compiled, and the compiler optimises little: what is compiled here runs once.
"""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import jaxtyping
import pytest

from tests import typecheck

_FIRST = "PYTEST_XDIST_WORKER" not in os.environ  # the process that starts the others
if _FIRST:
    _CACHE = tempfile.mkdtemp(prefix="qc_jax-tests-")
    # Before the first import of jax.
    os.environ["QC_JAX_CACHE"] = _CACHE
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(_CACHE) / "compiled")
    os.environ["JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    # They take half of a compilation, and made a gradient NaN without optimisation.
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
    )


jaxtyping.install_import_hook(typecheck.MODULES, "tests.typecheck.checked")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background, where Ctrl-C is ignored: what a test starts is not.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process waits for one in the end."""
    items.sort(key=lambda item: item.path.name not in ("test_run.py", "test_worker.py"))


def pytest_sessionfinish():
    """The first process ends last."""
    if _FIRST:
        shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="module")
def optimised():
    """For networks that are not tiny: what is compiled here runs long."""
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def as_users_compile(monkeypatch):
    """For trainings of two levels, here and in processes of their own: without optimisation their
    gradient is NaN now and then."""
    import jax

    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """See `tiny.write_model`."""
    from experiments.faults import tiny

    return tiny.write_model(tmp_path_factory.mktemp("model") / "student.safetensors")


@pytest.fixture(scope="session")
def head():
    """See `tiny.make_head`."""
    from experiments.faults import tiny

    return tiny.make_head()
