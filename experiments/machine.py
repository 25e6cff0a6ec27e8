"""What a run's numbers hang on beside its configuration and its data.

The gradient of a 3-D convolution's kernel is summed in as many parts as XLA has threads, and other
parts are other roundings.
"""

import os
from pathlib import Path

import jax


def facts() -> dict[str, str | int]:
    """Of this machine as jax uses it, plain values by name."""
    return {
        "devices": device(),
        "CPU threads of XLA": cpu_threads(),
        "processor": _processor(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "").strip(),
        "jax": jax.__version__,
    }


def device() -> str:
    """Number and kind of jax's devices."""
    first = jax.devices()[0]
    return f"{len(jax.devices())} x {first.device_kind} ({first.platform})"


def cpu_threads() -> int:
    """Threads that share the work of one operation on the CPU.

    Linux names them, so that they are counted; elsewhere they are as many as XLA is said to make:
    by PJRT_NPROC or NPROC, else one for each core that this process may use.
    """
    jax.devices("cpu")  # starts them
    names = []
    for thread in Path("/proc/self/task").glob("*/comm"):
        try:
            names.append(thread.read_text())
        except OSError:  # it has ended
            continue
    if found := sum(name.startswith("tf_XLAEigen") for name in names):
        return found
    for variable in ("PJRT_NPROC", "NPROC"):
        if os.environ.get(variable, "").isdecimal():
            return int(os.environ[variable])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Its name; other processors have other vector instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((s.partition(":")[2].strip() for s in lines if s.startswith("model name")), "")
