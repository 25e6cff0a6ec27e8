"""Trained students as files: weights in safetensors, and beside them what their scores mean.

`NAME.safetensors` holds the parameters, `NAME.json` the network's shape, the training, the SHA-256
of the weights, the calibration (see `scoring.calibration`), and the SHA-256 of all of that.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from qc_jax import descriptions, files
from qc_jax.descriptions import Calibration, Description
from qc_jax.errors import CheckpointError

__all__ = ["DEFAULT", "Description", "Model", "load_model", "save_model"]

DEFAULT = Path(__file__).parent / "weights" / "student.safetensors"
"""The weights in the package; `weights/MODEL_CARD.md` describes them."""
_FIELDS = ("sha256", "description", "training", "calibration")
_SUM = "facts_sha256"


@dataclasses.dataclass(frozen=True)
class Model:
    """A student, ready to score.

    Attributes:
      path: of its weights.
      sha256: of its weights.
      description: of the network.
      params: of the network.
      training: how it was trained, for people.
      calibration: what its scores mean; empty where that was not learnt.
    """

    path: Path
    sha256: str
    description: Description
    params: Any
    training: dict[str, Any]
    calibration: Calibration


def save_model(
    path: Path,
    description: Description,
    params: Any,
    training: dict[str, Any],
    calibration: Calibration,
) -> Model:
    """Writes the weights and, beside them, all the rest.

    Raises:
      CheckpointError: a description or calibration that no network can have.
      OutputError: the folder cannot be written.
    """
    flat = {
        name: _plain(np.asarray(value))
        for name, value in flax.traverse_util.flatten_dict(params, sep="/").items()
    }
    try:
        descriptions.check_description(description)
        descriptions.check_calibration(calibration, description.sources)
    except ValueError as error:
        raise CheckpointError(f"{path} is not written: {error}") from error
    weights = save_safetensors(flat)
    sha256 = hashlib.sha256(weights).hexdigest()
    facts = {
        "sha256": sha256,
        "description": dataclasses.asdict(description),
        "training": training,
        "calibration": calibration,
    }
    facts[_SUM] = descriptions.digest(facts)
    files.write_bytes(path, weights)
    files.write_json(path.with_suffix(".json"), facts)
    return Model(path, sha256, description, params, training, calibration)


def _plain(array: np.ndarray) -> np.ndarray:
    """Row by row and in the machine's byte order: safetensors takes the bytes as they lie, so that
    a transposed view would be written scrambled."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def load_model(path: str | Path | None = None) -> Model:
    """Loads a student.

    Args:
      path: of `.safetensors` weights with their `.json` beside, or of a run folder whose student is
        trained; the weights in the package by default.

    Raises:
      CheckpointError: missing, damaged (a SHA-256 differs), a description that cannot be true, or
        weights of another network or that are not finite.
    """
    path = DEFAULT if path is None else Path(path).expanduser()
    if path.is_dir():
        path = path / "student.safetensors"
    facts_path = path.with_suffix(".json")
    for needed in (path, facts_path):
        if not needed.is_file():
            raise CheckpointError(
                f"{needed} is missing; train a model with "
                "python -m experiments.run --stage=all, and give its run folder as the model"
            )
    facts = _read_facts(facts_path)
    wanted, training, calibration = (facts[k] for k in ("sha256", "training", "calibration"))
    try:
        description = descriptions.description_of(facts["description"])
        descriptions.check_calibration(calibration, description.sources)
    except ValueError as error:
        raise CheckpointError(
            f"{facts_path} does not describe a model ({error}); get it again"
        ) from error
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    sha256 = hashlib.sha256(weights).hexdigest()
    if sha256 != wanted:
        raise CheckpointError(
            f"{path} has SHA-256 {sha256[:12]}..., but {facts_path.name} names {wanted[:12]}...: "
            "the file is damaged or of another model; get both again"
        )
    try:
        flat = load_safetensors(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file ({error})") from error
    if path != DEFAULT:  # it takes half a second, and those in the package are tested
        _check_weights(path, flat, description)
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    return Model(path, sha256, description, params, training, calibration)


def _check_weights(path: Path, flat: dict[str, np.ndarray], description: Description) -> None:
    """Raises CheckpointError where weights are of another network, or not finite."""
    like = jax.eval_shape(
        lambda: description.network.init(
            jax.random.key(0), jax.numpy.zeros((1, *description.patch, 1))
        )
    )
    if _kinds(flat) != _kinds(flax.traverse_util.flatten_dict(like, sep="/")):
        raise CheckpointError(
            f"{path} holds weights of another network than {path.with_suffix('.json')} describes"
        )
    odd = [name for name, value in flat.items() if not np.isfinite(value).all()]
    if odd:
        raise CheckpointError(
            f"{path} holds weights that are not finite, in {odd[0]}; get it again"
        )


def _kinds(flat: dict[str, Any]) -> dict[str, tuple]:
    return {name: (value.shape, str(value.dtype)) for name, value in flat.items()}


def _read_facts(path: Path) -> dict[str, Any]:
    """The JSON beside the weights, whole and unchanged.

    Raises:
      CheckpointError: it is not.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} does not describe a model ({type(error).__name__}: {error}); get it again"
        ) from error
    if not isinstance(facts, dict) or not set(_FIELDS) <= set(facts):
        raise CheckpointError(
            f"{path} does not describe a model: {', '.join(_FIELDS)} are not all there; get it "
            "again"
        )
    # Files of version 0.8.1 and earlier have no sum.  They are refused, or taking the sum out would
    # be enough to have any change accepted, and they are made again in minutes.
    wanted, weights = facts.pop(_SUM, None), path.with_suffix(".safetensors")
    if wanted is None:
        raise CheckpointError(
            f"{path} has no {_SUM}: it was written by version 0.8.1 or earlier, or changed; write "
            f"it again with `python -m experiments.export RUN_DIR --output={weights}`"
        )
    if descriptions.digest(facts) != wanted:
        raise CheckpointError(
            f"{path} does not fit its own {_SUM}: it is damaged or was changed by hand; get it and "
            "the weights again"
        )
    if set(facts) != set(_FIELDS) or not isinstance(facts["training"], dict):
        raise CheckpointError(f"{path} is of another version of qc_jax; get it again")
    return facts
