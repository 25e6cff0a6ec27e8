"""SIGTERM and Ctrl-C: what runs comes to a good end first; a second signal does not wait for it.

Python handles a signal between two of its own instructions, so never while XLA compiles, which may
take minutes.  The kernel's handler, which runs at once, writes each signal into a pipe; a thread
reads it, and ends the process where nothing is at stake but time.
"""

import contextlib
import math
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

from qc_jax.errors import QcJaxError

PATIENCE = 15.0
"""Seconds from the first signal on in which work that has nothing to save may come to its end."""
_HANDLED = (signal.SIGINT, signal.SIGTERM)


class StoppedError(QcJaxError):
    """A signal arrived; what was done is saved."""

    def __init__(self, signal_number: int):
        super().__init__("stopped; what was done is saved, run the same command to go on")
        self.exit_code = 130 if signal_number == signal.SIGINT else 75


class Stop:
    """Whether a signal has arrived; long work asks between its steps.

    Attributes:
      at_stake: steps have been done that no checkpoint holds, so that they are waited for.
      deadline: of `time.monotonic`; what runs then is stopped as by a signal.
    """

    def __init__(self) -> None:
        self._arrived: list[int] = []
        self.at_stake = False
        self.deadline = math.inf

    def remember(self, number: int, frame: object) -> None:
        """Handles a signal; that a second one ends the process is for the thread that watches."""
        self._arrived.append(number)

    @property
    def requested(self) -> bool:
        """A signal has arrived, or the deadline."""
        return bool(self._arrived) or time.monotonic() > self.deadline

    def check(self) -> None:
        """Raises StoppedError where a signal or the deadline has arrived."""
        if self.requested:
            self.end()

    def end(self) -> NoReturn:
        """Raises StoppedError, for a signal that may have arrived in another process."""
        raise StoppedError(self._arrived[0] if self._arrived else signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within the block, SIGINT and SIGTERM are remembered; see `PATIENCE` for how long."""
    stop = Stop()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watcher = threading.Thread(target=_watch, args=(reading, stop), daemon=True)
    before = {number: signal.signal(number, stop.remember) for number in _HANDLED}
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)  # which ends the thread
        watcher.join()
        os.close(reading)


def _watch(reading: int, stop: Stop) -> None:
    """Ends the process at the second signal, and some time after the first where nothing is at
    stake; until the pipe is closed."""
    arrived: list[int] = []
    first = 0.0
    while True:
        if select.select([reading], [], [], 0.2 if arrived else None)[0]:
            received = os.read(reading, 64)
            if not received:
                return
            first = first if arrived else time.monotonic()
            arrived += [number for number in received if number in _HANDLED]
        late = arrived and time.monotonic() - first > PATIENCE
        if len(arrived) > 1 or (late and not stop.at_stake):
            _leave(arrived[0])


def _leave(number: int) -> NoReturn:
    """As `StoppedError` does, but at once: every file is whole at every moment."""
    error = StoppedError(number)
    show_cursor = "\x1b[?25h\n" if os.isatty(2) else ""  # which a progress line has hidden
    with contextlib.suppress(OSError):
        os.write(2, f"{show_cursor}error: {error}\n".encode())
    os._exit(error.exit_code)
