"""Checkpoints of a stage through orbax: the train state and the position of the data iterator.

Orbax writes a step as a whole or not at all, but has no checksum: a flipped bit would be restored
as a weight.  So a list of SHA-256 sums follows each step, and is compared before a restore.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from qc_jax import files
from qc_jax.errors import CheckpointError, OutputError
from qc_jax.extras import extra
from qc_jax.training.step import TrainState

with extra("train"):
    import orbax.checkpoint as ocp

_LOG = logging.getLogger(__name__)
_SUMS = "sha256.json"
_MARGIN = 2**16
"""Bytes of a checkpoint beside its arrays."""


def open_manager(folder: Path, keep: int = 2) -> ocp.CheckpointManager:
    """The manager of one stage's folder, which is made if need be; keeps the last `keep` steps.

    Raises:
      OutputError: the folder cannot be made.
    """
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
    try:
        return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror})") from error


def save(manager: ocp.CheckpointManager, state: TrainState, data: dict[str, Any]) -> None:
    """Saves a state under its own step, and waits until it is whole on disk.

    A damaged checkpoint of this or a later step is replaced.

    Raises:
      CheckpointError: orbax declined, because this or a later step is there already.
      OutputError: the disk is full, or cannot be written for another reason.
    """
    step, folder = int(state.step), Path(manager.directory)
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data))
    try:
        if jax.process_index() == 0:
            _check_space(folder, state)
        with _quiet():
            saved = _save(manager, step, items)
        if saved and jax.process_index() == 0:
            files.write_json(folder / str(step) / _SUMS, _sums(folder / str(step)))
    except Exception as error:  # orbax and tensorstore raise many types where a write fails
        free = shutil.disk_usage(folder).free / 2**20
        raise OutputError(
            f"{folder / str(step)} cannot be written ({_reason(error)}; {free:.0f} MB are free)"
        ) from error
    if not saved:
        raise CheckpointError(f"{manager.directory} holds step {step} or a later one already")


def _save(manager: ocp.CheckpointManager, step: int, items: ocp.args.Composite) -> bool:
    folder = Path(manager.directory)
    for other in manager.all_steps():
        if other >= step and damage(folder / str(other)):
            manager.delete(other)
    saved = manager.save(step, args=items)
    manager.wait_until_finished()
    return saved


def _check_space(folder: Path, state: TrainState) -> None:
    """Raises OSError where the disk has no room for a state.

    Asked before orbax 0.12 is, which logs a failure once for each of its threads, and whose
    callbacks go on to find an event loop that is closed: hundreds of lines, some at exit.
    """
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _MARGIN
    path = folder / ".qc_jax-space"
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.write(bytes(size))
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Of a disk that is full only now, one sentence is said, not that of every thread."""
    absl = logging.getLogger("absl")
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    absl.addFilter(_is_no_error)
    sys.excepthook = lambda *_: None
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        absl.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def restore(
    manager: ocp.CheckpointManager, like: TrainState
) -> tuple[TrainState, dict[str, Any]] | None:
    """The last whole step, on the devices and in the shapes of `like`; None where nothing is saved.

    A damaged step is reported as a warning of the logger, and the one before it is taken.

    Raises:
      CheckpointError: none is whole, or of another network.
    """
    steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        reason = damage(Path(manager.directory) / str(step))
        if reason is None:
            return _restore_step(manager, step, like)
        _LOG.warning("%s is damaged (%s)", manager.directory / str(step), reason)
    if steps:
        raise CheckpointError(
            f"{manager.directory} holds no checkpoint that is whole; {_advice(manager)}"
        )
    return None


def damage(step_folder: Path) -> str | None:
    """What is wrong with a saved step, by its SHA-256 sums; None where it is whole."""
    try:
        expected = json.loads((step_folder / _SUMS).read_text())
        found = _sums(step_folder)
    except (OSError, ValueError) as error:
        return f"its {_SUMS} cannot be read: {error}"
    for name in sorted({*expected, *found}):
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected.get(name):
            return f"{name} has another SHA-256"
    return None


def _restore_step(
    manager: ocp.CheckpointManager, step: int, like: TrainState
) -> tuple[TrainState, dict[str, Any]]:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    items = ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
    )
    try:
        stored = _shapes(manager.item_metadata(step).state.tree)
        # Compared before any array is read: a restore that fails halfway leaves reads under way.
        if stored == _shapes(ocp.tree.serialize_tree(like, keep_empty_nodes=False)):
            restored = manager.restore(step, args=items)
            return restored.state, restored.data
    except Exception as error:  # of a version of orbax that cannot read it
        raise CheckpointError(
            f"{manager.directory / str(step)} cannot be read ({_first_line(error)}); "
            f"{_advice(manager)}"
        ) from error
    raise CheckpointError(
        f"{manager.directory / str(step)} is of another network; {_advice(manager)}"
    )


def _advice(manager: ocp.CheckpointManager) -> str:
    return f"remove {manager.directory} to train this stage again"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _reason(error: Exception) -> str:
    """What the operating system said, where tensorstore's many words hold it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code.group(1))) if code else _first_line(error)


def _sums(step_folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there."""
    return {
        path.relative_to(step_folder).as_posix(): files.sha256(path)
        for path in sorted(step_folder.rglob("*"))
        if path.is_file() and path.name != _SUMS
    }


def _shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and dtype of every leaf, by its path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}
