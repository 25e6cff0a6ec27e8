"""The folder of a run: its configuration, split, metrics and summary."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.presets import Config
from qc_jax.errors import ConfigError, OutputError


def claim(folder: Path, config: Config) -> None:
    """Makes the folder for this configuration, or checks that it is already its own.

    Raises:
      ConfigError: the folder belongs to another configuration; says which fields differ.
      OutputError: it cannot be written.
    """
    path = folder / "config.json"
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON ({error}); choose another --run-dir") from error
        differing = [
            f"{name} is {found.get(name)!r} there and {wanted.get(name)!r} here"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        if differing:
            raise ConfigError(
                f"{folder} holds a run of another configuration ({'; '.join(differing)}); "
                "choose another --run-dir, or the same values"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """One run at a time in a folder; the lock of a process that is gone counts for nothing.

    Raises:
      ConfigError: another process works there, on this machine or on another one.
    """
    path, host = folder / "run.lock", socket.gethostname()
    with path.open("a+") as file:
        file.seek(0)
        owner = file.read().strip()
        where = f"{folder} is in use by {owner or 'another process'}"
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise ConfigError(f"{where}; wait for it, or choose another --run-dir") from error
        # The kernel frees the lock of a dead process, but only where that process ran.
        if owner and not owner.endswith(f" on {host}"):
            raise ConfigError(f"{where}; if it no longer runs there, remove {path}")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {host}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def split(folder: Path, make: dict[str, list[str]]) -> dict[str, list[str]]:
    """The split that the run began with.

    Raises:
      ConfigError: the data no longer hold the same subjects.
    """
    path = folder / "splits.json"
    if not path.exists():
        write_json(path, make)
    found = json.loads(path.read_text())
    before, now = ({name for part in s.values() for name in part} for s in (found, make))
    if before != now:
        raise ConfigError(
            f"the data have changed since {path} was written: added "
            f"{sorted(now - before)[:5]}, missing {sorted(before - now)[:5]}; "
            "restore them or choose another --run-dir"
        )
    return found


def write_json(path: Path, content: Any) -> None:
    """Written beside and renamed, so that the file is always whole."""
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def read_summary(folder: Path) -> dict[str, Any]:
    """`summary.json`, empty where there is none yet."""
    path = folder / "summary.json"
    return json.loads(path.read_text()) if path.exists() else {}


def forget_metrics_after(path: Path, stage: str, step: int) -> None:
    """Drops the lines of a stage beyond a step: they will be trained again."""
    if not path.exists():
        return
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line for line in lines if line["stage"] != stage or line["step"] <= step]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))


def append_metrics(path: Path, record: Mapping[str, Any]) -> None:
    """One JSON line."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
