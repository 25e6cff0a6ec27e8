"""Checkpoints of a stage through orbax: the train state and the position of the data iterator."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from qc_jax.errors import CheckpointError
from qc_jax.training.step import TrainState


def open_manager(folder: Path, keep: int = 2) -> ocp.CheckpointManager:
    """The manager of one stage's folder, which is made if need be; keeps the last `keep` steps."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)


def save(manager: ocp.CheckpointManager, state: TrainState, data: dict[str, Any]) -> None:
    """Saves a state under its own step, and waits until it is whole on disk.

    Raises:
      CheckpointError: orbax declined, because this or a later step is there already.
    """
    step = int(state.step)
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data))
    saved = manager.save(step, args=items)
    manager.wait_until_finished()
    if not saved:
        raise CheckpointError(f"{manager.directory} holds step {step} or a later one already")


def restore(
    manager: ocp.CheckpointManager, like: TrainState
) -> tuple[TrainState, dict[str, Any]] | None:
    """The last step, on the devices and in the shapes of `like`; None where nothing is saved.

    Raises:
      CheckpointError: unreadable, or of another network.
    """
    step = manager.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    items = ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
    )
    advice = f"remove {manager.directory} to train this stage again"
    try:
        stored = _shapes(manager.item_metadata(step).state.tree)
        # Compared before any array is read: a restore that fails halfway leaves reads under way.
        if stored == _shapes(ocp.tree.serialize_tree(like, keep_empty_nodes=False)):
            restored = manager.restore(step, args=items)
            return restored.state, restored.data
    except Exception as error:  # orbax and tensorstore raise many types for what is damaged
        first_line = str(error).strip().splitlines()[0][:200]
        raise CheckpointError(
            f"{manager.directory / str(step)} is damaged ({first_line}); {advice}"
        ) from error
    raise CheckpointError(f"{manager.directory / str(step)} is of another network; {advice}")


def _shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and dtype of every leaf, by its path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}
