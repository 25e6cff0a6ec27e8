"""Libraries that only a part of this package needs, and that an extra brings."""

import contextlib
from collections.abc import Iterator

from qc_jax.errors import ConfigError


class ExtraError(ConfigError, ImportError):
    """A library is not installed that an extra brings."""


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """What is imported within comes with the extra of this name.

    Raises:
      ExtraError: it is not installed; the message has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraError(
            f"{error.name} is missing, which the extra {name!r} brings: pip install "
            f"'qc_jax[{name}]', or pip install -e '.[{name}]' in a clone"
        ) from error
