"""Lines for people and for programs; a terminal, pipe or disk that takes no more stops no work."""

import contextlib
import io
import os
import sys
from typing import TextIO


def say(text: str) -> bool:
    """Writes a line to standard output; False where it takes no more, as a full disk or a reader
    that has gone away."""
    try:
        print(text, flush=True)
    except OSError:
        with open(os.devnull, "w") as nobody:  # lest the line be tried again at the end
            os.dup2(nobody.fileno(), sys.stdout.fileno())
        return False
    return True


def note(text: str) -> None:
    """Writes a line to standard error, for people; nothing depends on its arrival."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class Patient(io.TextIOBase):
    """A text stream that drops what cannot be written, for progress lines."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return self._stream.encoding

    def fileno(self) -> int:
        """Of the stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether somebody looks."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """See `TextIO.write`."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """See `TextIO.flush`."""
        with contextlib.suppress(OSError):
            self._stream.flush()
