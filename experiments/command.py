"""A module as a command: its arguments, its errors in one sentence, its exit code."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

import tyro

from experiments import limits
from qc_jax.errors import UNFORESEEN, ConfigError, OutputError, QcJaxError, one_line

Arguments = TypeVar("Arguments")

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
_INTERRUPTED = 130


def call(
    function: Callable[[Arguments], int | None],
    kind: type[Arguments],
    module: str,
    arguments: list[str] | None,
    **ranges: tuple[float, float],
) -> int:
    """Calls `function` with what the command line says, and returns the exit code.

    Args:
      function: what the command does; returns an exit code of its own, or None.
      kind: dataclass of its arguments, whose docstring is the help text.
      module: for `python -m`.
      arguments: those of the process by default.
      ranges: of numbers that have another one here than in `limits`.
    """
    parsed = tyro.cli(kind, args=arguments, prog=f"python -m {module}")

    def work() -> int | None:
        limits.check(parsed, **ranges)
        return function(parsed)

    return exit_code_of(work)


def exit_code_of(work: Callable[[], int | None]) -> int:
    """Calls `work`, says in one sentence what it raised, and returns the exit code.

    Where `QC_JAX_DEBUG` is set, the traceback of what nobody foresaw follows.
    """
    try:
        return work() or 0
    except QcJaxError as error:
        return _said(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        return _said(
            f"{error.name} is missing, which experiments need: pip install -e '.[train]'",
            ConfigError.exit_code,
        )
    except KeyboardInterrupt:
        return _said("interrupted; run the same command to go on", _INTERRUPTED)
    except MemoryError:
        return _said(
            "the memory of this machine is too small; use fewer or smaller scans, a larger "
            "--voxel-size or a smaller --field-of-view",
            ConfigError.exit_code,
        )
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
            return _said(f"{error.filename or 'output'}: {error.strerror}", OutputError.exit_code)
        device = _what_is_wrong_with_the_device(error)
        if device:
            return _said(device, ConfigError.exit_code)
        if os.environ.get("QC_JAX_DEBUG"):
            traceback.print_exc()
        return _said(
            f"unforeseen, {type(error).__name__}: {one_line(error)}; QC_JAX_DEBUG=1 shows where: "
            "please report it",
            UNFORESEEN,
        )


def _said(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):  # nobody listens, or the disk is full
        print(f"error: {sentence}", file=sys.stderr)
    return code


def _what_is_wrong_with_the_device(error: Exception) -> str:
    """In one sentence, where it is the device; jax says so in errors of many types, one of them
    without a word."""
    if "RESOURCE_EXHAUSTED" in str(error):
        return (
            "the memory of the device is too small; use a smaller --batch-size, --patch or "
            "--base-features"
        )
    from qc_jax import devices

    return devices.what_is_wrong()
