"""SIGTERM and Ctrl-C: what runs comes to a good end first; a second signal does not wait for it."""

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

from qc_jax.errors import QcJaxError


class StoppedError(QcJaxError):
    """A signal arrived; what was done is saved."""

    def __init__(self, signal_number: int):
        super().__init__("stopped; what was done is saved, run the same command to go on")
        self.exit_code = 130 if signal_number == signal.SIGINT else 75


class Stop:
    """Whether a signal has arrived; long work asks between its steps."""

    def __init__(self) -> None:
        self._arrived: list[int] = []

    def remember(self, number: int, frame: object) -> None:
        """Handles the first signal; the second then does what it does by default."""
        self._arrived.append(number)
        for handled in (signal.SIGINT, signal.SIGTERM):
            signal.signal(handled, signal.SIG_DFL)

    @property
    def requested(self) -> bool:
        """A signal has arrived."""
        return bool(self._arrived)

    def check(self) -> None:
        """Raises StoppedError where a signal has arrived."""
        if self._arrived:
            self.end()

    def end(self) -> NoReturn:
        """Raises StoppedError, for a signal that may have arrived in another process."""
        raise StoppedError(self._arrived[0] if self._arrived else signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within the block, SIGINT and SIGTERM are only remembered."""
    stop = Stop()
    before = {n: signal.signal(n, stop.remember) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
