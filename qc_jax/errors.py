"""Errors that a user can put right: one sentence, and the exit code of the command."""

from collections.abc import Iterable


class QcJaxError(Exception):
    """Says in one sentence which file or field, what is wrong and what to do."""

    exit_code = 1


class ConfigError(QcJaxError):
    """Wrong usage, configuration or data."""

    exit_code = 2


class ScanError(ConfigError):
    """A scan that cannot be used: the training stops, the scorer goes on with the others."""

    def __init__(self, reason: str):
        """One line, whatever a file is called or a library says."""
        super().__init__(" ".join(reason.splitlines()))


class UnreadableError(ScanError):
    """A scan that cannot be read now, and may be another time."""


class CheckpointError(QcJaxError):
    """A model or checkpoint that is missing, unreadable or not of this run."""

    exit_code = 3


class OutputError(QcJaxError):
    """The output cannot be written."""

    exit_code = 4


class DivergedError(QcJaxError):
    """Training produced numbers that are not finite."""

    exit_code = 5


def one_line(error: BaseException) -> str:
    """The message of an exception without its new lines; its type where it has none."""
    return " ".join(str(error).split())[:500] or type(error).__name__


def some_of(names: Iterable[str], most: int = 10) -> str:
    """The first names, and how many others there are."""
    listed = list(names)
    others = f" and {len(listed) - most} others" if len(listed) > most else ""
    return ", ".join(listed[:most]) + others


UNFORESEEN = 70
"""Exit code of what nobody foresaw (EX_SOFTWARE), which no other end has."""
