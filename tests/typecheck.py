"""Types of arguments and results, with the shapes of arrays, are checked in all tests.

An int counts as a float, as Python's own type checkers have it.
"""

from pathlib import Path

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

_AUGMENT = Path(__file__).parent.parent / "qc_jax" / "augment"
MODULES = [
    *(f"qc_jax.{name}" for name in ("losses", "network", "uncertainty")),
    # A protocol says itself, in a sentence, which of its fields no scanner has.
    *(f"qc_jax.augment.{path.stem}" for path in _AUGMENT.glob("*.py") if path.stem != "protocol"),
]
