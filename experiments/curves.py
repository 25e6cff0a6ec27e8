"""Curves for TensorBoard, written as they come.

tensorboardX's own `SummaryWriter` (2.6) writes in a thread: when the disk is full the thread dies,
its queue of ten fills, and the training waits for it for ever.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from qc_jax import files


class Curves:
    """An open file of events, or none, into which nothing is written."""

    def __init__(self, folder: Path, events: EventsWriter | None):
        self._folder, self._events = folder, events

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Points of several curves; raises OutputError where they cannot be written."""
        if self._events is None:
            return
        with files.writing(self._folder):
            for name, value in values.items():
                event = Event(summary=scalar(name, value), step=step, wall_time=time.time())
                self._events.write_event(event)

    def close(self) -> None:
        """Raises OutputError where the last points cannot be written."""
        if self._events is not None:
            with files.writing(self._folder):
                self._events.close()


@contextlib.contextmanager
def open_curves(folder: Path, write: bool) -> Iterator[Curves]:
    """A new file in a folder, which is made; with `write` False nothing is.

    Raises:
      OutputError: it cannot be written.
    """
    events = None
    if write:
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            events = EventsWriter(str(folder / "events"))
    curves = Curves(folder, events)
    try:
        yield curves
    except BaseException:
        with contextlib.suppress(Exception):  # of two errors the first is said
            curves.close()
        raise
    curves.close()
