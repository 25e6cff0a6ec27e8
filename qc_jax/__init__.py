"""Can this MRI scan be trusted for measuring the brain, and if not, what is wrong with it?"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qc_jax import (
        augment,
        data,
        errors,
        losses,
        models,
        network,
        scoring,
        training,
        uncertainty,
    )
    from qc_jax.models import Model, load_model
    from qc_jax.scoring import ScanScore, score

__version__ = "0.13.0"
__all__ = [
    "Model",
    "ScanScore",
    "augment",
    "data",
    "errors",
    "load_model",
    "losses",
    "models",
    "network",
    "score",
    "scoring",
    "training",
    "uncertainty",
]

# On a CPU, jax 0.11 waits for ever where as many Fourier transforms run side by side as XLA has
# threads, which is one for each core.  It reads this when it first looks for devices.
os.environ.setdefault("PJRT_NPROC", str(max(8, os.cpu_count() or 1)))

_HOMES = {"Model": "models", "ScanScore": "scoring", "load_model": "models", "score": "scoring"}
"""Where those names live that are no modules."""

# A type checker shall see the imports above alone: with this, any name would be `Any` to it.
if not TYPE_CHECKING:

    def __getattr__(name: str):
        """Imported when first asked for, so that `import qc_jax` and `--help` do without jax."""
        if name not in __all__:
            raise AttributeError(f"module 'qc_jax' has no attribute {name!r}")
        module = importlib.import_module(f"qc_jax.{_HOMES.get(name, name)}")
        return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
