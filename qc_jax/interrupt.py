"""Ctrl-C and SIGTERM: what is at work ends within a second or two, in one sentence.

Files are written whole or not at all, and the scoring process ends with the one that started it, so
that it is safe to end anywhere.  An exception alone would not do: one that is raised while modules
are imported may be swallowed, or end in a traceback.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from qc_jax.terminal import note

_PATIENCE = 2.0
"""Seconds in which what is at work may come to an end of its own."""


class Ended(KeyboardInterrupt):
    """A signal arrived while there was something to put in order."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def exit_code(number: int) -> int:
    """After a signal: 75 for SIGTERM, 130 for Ctrl-C."""
    return 75 if number == signal.SIGTERM else 130


def say_so() -> None:
    """The sentence."""
    note("interrupted; what was scored is kept, run the same command to go on")


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Within the block, a signal ends the process there and then."""

    with _handled(_end_now):
        yield


def _end_now(number: int, frame: object) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        note("\x1b[?25h")  # the cursor, which a progress line hides
    say_so()
    os._exit(exit_code(number))


@contextlib.contextmanager
def in_order() -> Iterator[None]:
    """Within the block, a first signal raises `Ended`; a second, or some time, ends the process.

    For what has to be put in order, as a cluster's workers: raised in a callback it is swallowed.
    """

    def end(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(each, lambda *_: _end_now(number, frame))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        raise Ended(number)

    with _handled(end):
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    # One that is ignored, as nohup and job control have it, stays so.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
