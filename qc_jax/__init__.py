"""Can this MRI scan be trusted for measuring the brain, and if not, what is wrong with it?"""

import importlib
import os

__version__ = "0.11.0"
__all__ = ["Model", "ScanScore", "load_model", "score"]

# On a CPU, jax 0.11 waits for ever where as many Fourier transforms run side by side as XLA has
# threads, which is one for each core.  It reads this when it first looks for devices.
os.environ.setdefault("PJRT_NPROC", str(max(8, os.cpu_count() or 1)))

_HOMES = {
    "Model": "qc_jax.models",
    "ScanScore": "qc_jax.scoring",
    "load_model": "qc_jax.models",
    "score": "qc_jax.scoring",
}


def __getattr__(name: str):
    """Imported when first asked for, so that `import qc_jax` and `--help` do without jax."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qc_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
