"""What `import qc_jax` offers: by name, with types, and at once."""

import importlib
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from mypy import api

import qc_jax

ROOT = Path(__file__).parent.parent


def test_names_of_the_front_door_are_listed_and_there():
    assert set(dir(qc_jax)) == {*qc_jax.__all__, "__version__"}
    for name in qc_jax.__all__:
        assert getattr(qc_jax, name) is not None
    assert callable(qc_jax.losses.combined_loss) and callable(qc_jax.augment.compose)
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        qc_jax.loses  # noqa: B018


def test_the_import_waits_for_nothing_that_is_slow():
    program = (
        "import sys, qc_jax; dir(qc_jax);"
        "assert not {'jax', 'numpy', 'flax', 'nibabel'} & set(sys.modules);"
        "qc_jax.losses; assert 'jax' in sys.modules and 'nibabel' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


PROGRAM = """
import qc_jax
reveal_type(qc_jax.score)
reveal_type(qc_jax.load_model())
reveal_type(qc_jax.augment.ALL_SOURCES)
qc_jax.loses
"""


def test_types_are_those_of_the_functions(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    (tmp_path / "program.py").write_text(PROGRAM)
    said, errors, _ = api.run([str(tmp_path / "program.py")])
    score, model, sources, mistake, _ = said.splitlines()
    assert not errors
    assert "def (" in score and "-> qc_jax.scoring.scan.ScanScore" in score
    assert '"qc_jax.models.Model"' in model
    assert "Source" in sources and "Any" not in sources
    assert 'no attribute "loses"' in mistake


@pytest.mark.parametrize("name", ["augment", "data", "scoring", "training"])
def test_no_function_hides_a_module(name):
    package = importlib.import_module(f"qc_jax.{name}")
    for module in pkgutil.iter_modules(package.__path__):
        shown = getattr(package, module.name, None)
        assert shown is None or isinstance(shown, types.ModuleType), module.name
