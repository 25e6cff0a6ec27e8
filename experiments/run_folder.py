"""The folder of a run: its configuration, split, data, machine, metrics and summary."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import limits
from experiments.presets import Config
from qc_jax import data, files
from qc_jax.errors import ConfigError

_LOG = logging.getLogger(__name__)


def claim(folder: Path, config: Config) -> None:
    """Makes the folder for this configuration, or checks that it is already its own.

    Raises:
      ConfigError: the folder belongs to another configuration, says which fields differ, or to
        another version of this package.
      OutputError: it cannot be written.
    """
    path = folder / "config.json"
    if path.exists():
        _check_same(folder, read_config(folder), config)
    else:
        files.write_json(path, dataclasses.asdict(config))


def read_config(folder: Path) -> Config:
    """The configuration of a run.

    Raises:
      ConfigError: missing, damaged, or of another version of this package.
    """
    path = folder / "config.json"
    if not path.exists():
        raise ConfigError(f"{path} is missing; name a run folder")
    return _read_record(path, read_object(path), Config())


def _read_record(path: Path, found: Mapping[str, Any], default: Any) -> Any:
    """A dataclass from a JSON object of its fields, each like that of `default`."""
    names = {field.name for field in dataclasses.fields(default)}
    if set(found) != names:
        raise ConfigError(
            f"{path} cannot be read: it is damaged, or of another version of this package "
            f"({', '.join(sorted(set(found) ^ names)[:5])} differ); choose another --run-dir"
        )
    values = {}
    for name in names:
        like, value = getattr(default, name), found[name]
        if dataclasses.is_dataclass(like) and isinstance(value, dict):
            values[name] = _read_record(path, value, like)
            continue
        values[name] = tuple(value) if isinstance(value, list) else value
        if not _is_like(values[name], like):
            raise ConfigError(f"{path} is damaged: {name} is {value!r}")
    return type(default)(**values)


def _is_like(value: Any, default: Any) -> bool:
    """Of the same type; a whole number may stand for any number."""
    if isinstance(default, tuple):
        kind = type(default[0]) if default else int
        right_length = len(value) == len(default) or kind is not int or not default
        return isinstance(value, tuple) and right_length and all(type(v) is kind for v in value)
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def _check_same(folder: Path, found: Config, wanted: Config) -> None:
    there, here = limits.leaves(found), limits.leaves(wanted)
    differing = [
        f"{'.'.join(path)} is {there[path]!r} there and {here[path]!r} here"
        for path in here
        if there[path] != here[path]
    ]
    if differing:
        raise ConfigError(
            f"{folder} holds a run of another configuration ({'; '.join(differing)}); "
            "choose another --run-dir, or the same values"
        )


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """One run at a time in a folder; the lock of a process that is gone counts for nothing.

    Raises:
      ConfigError: another process works there, on this machine or on another one.
    """
    path, host = folder / "run.lock", socket.gethostname()
    with path.open("a+", errors="replace") as file:
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
      ConfigError: it is damaged, has a person in two parts, or the data no longer hold the same
        subjects.
    """
    path = folder / "splits.json"
    if not path.exists():
        files.write_json(path, make)
    found = data.read_any_split(path)
    before, now = ({name for part in s.values() for name in part} for s in (found, make))
    if before != now:
        raise ConfigError(
            f"the data have changed since {path} was written: added "
            f"{sorted(now - before)[:5]}, missing {sorted(before - now)[:5]}; "
            "restore them or choose another --run-dir"
        )
    return found


def check_data(folder: Path, subjects: Sequence[data.Subject]) -> None:
    """Keeps what is in the data, or compares it with what was there when the run began.

    Raises:
      ConfigError: the heads of the same names have other contents now.
    """
    path = folder / "data.json"
    now = {subject.name: subject.digest() for subject in subjects}
    if not path.exists():
        files.write_json(path, now)
    before = read_object(path)
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if changed:
        others = f" and {len(changed) - 5} others" if len(changed) > 5 else ""
        raise ConfigError(
            f"the data have changed since {path} was written: {', '.join(changed[:5])}{others} "
            "hold other images or labels now; restore them or choose another --run-dir"
        )


def compare_machine(folder: Path, now: Mapping[str, Any]) -> None:
    """Keeps what the machine is, or says in a line of the log what differs from when the run began:
    then its weights will not be those of a run that was never interrupted, to the bit.

    Args:
      folder: of the run.
      now: plain values by name.
    """
    path = folder / "machine.json"
    if not path.exists():
        files.write_json(path, now)
    before = read_object(path)
    differing = [
        f"{name} {before.get(name)!r} then and {now.get(name)!r} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differing:
        _LOG.warning(
            "%s began on another machine (%s): it goes on, but its weights will agree only to "
            "rounding with those of a run that was never interrupted",
            folder,
            "; ".join(differing),
        )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ConfigError: the file cannot be read, or holds something else.
    """
    advice = "restore it, or choose another --run-dir"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON ({error}); {advice}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no JSON object; {advice}")
    return found


def read_summary(folder: Path) -> dict[str, Any]:
    """`summary.json`, empty where there is none yet.

    Raises:
      ConfigError: it is damaged.
    """
    path = folder / "summary.json"
    if not path.exists():
        return {}
    advice = "remove it, and --stage=evaluate measures again"
    try:
        found = read_object(path)
    except ConfigError as error:
        raise ConfigError(f"{path} is damaged; {advice}") from error
    measured = [found.get(stage, {}) for stage in ("task", "teachers", "student")]
    if not all(isinstance(part, dict) and _holds_numbers(part) for part in measured):
        raise ConfigError(f"{path} is damaged; {advice}")
    return found


def _holds_numbers(content: Any) -> bool:
    """Numbers, by name or by names of names."""
    if isinstance(content, dict):
        return all(map(_holds_numbers, content.values()))
    return isinstance(content, int | float)


def forget_metrics_after(path: Path, stage: str, step: int) -> None:
    """Drops the lines of a stage beyond a step, which will be trained again, and what is no line,
    as a machine that lost its power leaves the last one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            record = json.loads(line)
            if record["stage"] != stage or record["step"] <= step:
                kept.append(json.dumps(record) + "\n")
    files.write_text(path, "".join(kept))


def append_metrics(path: Path, record: Mapping[str, Any]) -> None:
    """One JSON line."""
    with files.writing(path), path.open("a") as file:
        file.write(json.dumps(record) + "\n")
