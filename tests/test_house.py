"""The house: who may import whom, and one version everywhere."""

import ast
import sys
from pathlib import Path

import pytest

import qc_jax

ROOT = Path(qc_jax.__file__).parents[1]
FLOORS = (
    ("qc_jax.errors", "qc_jax.configs", "qc_jax.arrays"),
    ("qc_jax.files", "qc_jax.devices", "qc_jax.extras", "qc_jax.memory", "qc_jax.process"),
    ("qc_jax.augment",),
    ("qc_jax.uncertainty",),
    ("qc_jax.losses",),
    (
        "qc_jax.conv",
        "qc_jax.cubes",
        "qc_jax.native",
        "qc_jax.power",
        "qc_jax.spectrum",
        "qc_jax.missing",
    ),
    ("qc_jax.source_head", "qc_jax.heads"),
    ("qc_jax.network",),
    ("qc_jax.descriptions",),
    ("qc_jax.training", "qc_jax.data", "qc_jax.models"),
    ("qc_jax.scoring",),
    ("qc_jax.terminal",),
    ("qc_jax.interrupt",),
    ("qc_jax.commands", "qc_jax.progress", "qc_jax.watch"),
    ("qc_jax.cli",),
    ("experiments",),
)
"""From the ground up: a module may import its own floor and those below it."""


def floor_of(name: str) -> int | None:
    found = [
        level
        for level, names in enumerate(FLOORS)
        if any(name == floor or name.startswith(f"{floor}.") for floor in names)
    ]
    return found[0] if found else None


def imports_of(path: Path) -> set[str]:
    """Absolute names of what a file imports, `from a import b` as `a.b` as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = [p for part in ("qc_jax", "experiments") for p in sorted((ROOT / part).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_flow_downwards(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    level = floor_of(own)
    if own == "qc_jax":  # the front door: it fetches from everywhere, when asked
        return
    assert level is not None, f"{own} has no floor"
    for name in imports_of(path):
        other = floor_of(name)
        assert other is None or other <= level, f"{own} imports {name}, which is above it"


def test_the_scoring_does_without_the_training():
    for path in (ROOT / "qc_jax" / "scoring").rglob("*.py"):
        assert not any(name.startswith("qc_jax.training") for name in imports_of(path)), path


@pytest.mark.parametrize("name", ["augment", "losses", "uncertainty"])
def test_what_others_compose_needs_jax_alone(name):
    folder = ROOT / "qc_jax" / name
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    allowed = {"jax", "jaxtyping", "numpy", "chex", "optax", "qc_jax", *sys.stdlib_module_names}
    for path in files:
        outside = {imported.partition(".")[0] for imported in imports_of(path)} - allowed
        assert not outside, f"{path} imports {outside}"


def test_one_version():
    assert f"version: {qc_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {qc_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
