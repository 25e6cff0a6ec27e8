"""Whether jax has the device that it was told to use."""

import os

import jax

from qc_jax.errors import one_line


def what_is_wrong() -> str:
    """In one sentence; empty where there is a device.

    jax says so in errors of many types, one of them without a word, when it first computes.
    """
    try:
        jax.devices()
    except Exception as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        return (
            f"JAX_PLATFORMS={wanted}: jax finds no such device ({one_line(error)}); unset it to "
            "take what there is, or install jax for this device (requirements-gpu.txt)"
        )
    return ""
