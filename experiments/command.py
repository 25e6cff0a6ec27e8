"""A module as a command: its arguments, its errors in one sentence, its exit code."""

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from qc_jax.errors import QcJaxError

Arguments = TypeVar("Arguments")


def call(
    function: Callable[[Arguments], None],
    kind: type[Arguments],
    module: str,
    arguments: list[str] | None,
) -> int:
    """Calls `function` with what the command line says, and returns the exit code.

    Args:
      function: what the command does.
      kind: dataclass of its arguments, whose docstring is the help text.
      module: for `python -m`.
      arguments: those of the process by default.
    """
    parsed = tyro.cli(kind, args=arguments, prog=f"python -m {module}")
    try:
        function(parsed)
    except QcJaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
