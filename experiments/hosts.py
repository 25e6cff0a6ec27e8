"""One training over several processes, each with devices of its own, usually one on each host."""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from qc_jax.errors import ConfigError


def join(coordinator: str, processes: int, process: int) -> None:
    """Waits for the other processes; from then on `jax.devices()` are those of all.

    Args:
      coordinator: HOST:PORT at which process 0 listens, or `auto` to learn this and the numbers
        from SLURM, Open MPI or the TPU.
      processes: how many there are.
      process: which of them this is, from 0.

    Raises:
      ConfigError: they cannot be found.
    """
    # It would take SIGTERM for itself, which is to save a checkpoint and to end the run.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--coordinator={coordinator}: the processes do not find each other "
            f"({str(error).splitlines()[0]})"
        ) from error


def first(action: Callable[[], object], name: str) -> None:
    """Runs `action` in the first process, while the others wait; `name` is that of the place."""
    if is_first():
        action()
    wait(name)


def is_first() -> bool:
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Until all processes have come to the place of this name."""
    multihost_utils.sync_global_devices(name)


def any_of(flag: bool) -> bool:
    """Whether `flag` holds in any process; all of them have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))
