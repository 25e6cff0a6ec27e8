"""Trained students as files: weights in safetensors, and beside them what their scores mean.

`NAME.safetensors` holds the parameters, `NAME.json` the network's shape, the training, the SHA-256
of the weights, and the calibration (see `scoring.calibration`).
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

from qc_jax.errors import CheckpointError, OutputError
from qc_jax.network import UNet

DEFAULT = Path(__file__).parent / "weights" / "student.safetensors"
"""The weights in the package; `weights/MODEL_CARD.md` describes them."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What has to be known of a network to use it.

    Attributes:
      sources: artefacts whose variances it predicts, in the order of its channels.
      base_features, depth, level_head: of the `UNet`.
      patch: voxels of a window.
      voxel_size: in mm.
      field_of_view: voxels of a whole scan.
    """

    sources: tuple[str, ...]
    base_features: int
    depth: int
    level_head: bool
    patch: tuple[int, int, int]
    voxel_size: float
    field_of_view: tuple[int, int, int]

    @property
    def network(self) -> UNet:
        """The student."""
        return UNet(
            num_sources=len(self.sources),
            base_features=self.base_features,
            depth=self.depth,
            level_head=self.level_head,
        )


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
    calibration: dict[str, Any]


def save_model(
    path: Path,
    description: Description,
    params: Any,
    training: dict[str, Any],
    calibration: dict[str, Any],
) -> Model:
    """Writes the weights and, beside them, all the rest.

    Raises:
      OutputError: the folder cannot be written.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    weights = save_safetensors({name: np.asarray(value) for name, value in flat.items()})
    sha256 = hashlib.sha256(weights).hexdigest()
    facts = {
        "sha256": sha256,
        "description": dataclasses.asdict(description),
        "training": training,
        "calibration": calibration,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, content in (
            (path, weights),
            (path.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode()),
        ):
            partial = target.with_name(target.name + ".tmp")
            partial.write_bytes(content)
            partial.replace(target)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror})") from error
    return Model(path, sha256, description, params, training, calibration)


def load_model(path: str | Path | None = None) -> Model:
    """Loads a student.

    Args:
      path: of `.safetensors` weights with their `.json` beside, or of a run folder whose student is
        trained; the weights in the package by default.

    Raises:
      CheckpointError: missing, damaged (the SHA-256 differs), or weights of another network.
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
    try:
        facts = json.loads(facts_path.read_text())
        description = _description(facts["description"])
        wanted, training, calibration = (facts[k] for k in ("sha256", "training", "calibration"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{facts_path} does not describe a model ({type(error).__name__}: {error})"
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
    network = description.network
    like = jax.eval_shape(
        lambda: network.init(jax.random.key(0), jax.numpy.zeros((1, *description.patch, 1)))
    )
    expected = flax.traverse_util.flatten_dict(like, sep="/")
    if {n: v.shape for n, v in flat.items()} != {n: v.shape for n, v in expected.items()}:
        raise CheckpointError(
            f"{path} holds weights of another network than {facts_path} describes"
        )
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    return Model(path, sha256, description, params, training, calibration)


def _description(fields: dict[str, Any]) -> Description:
    names = {field.name for field in dataclasses.fields(Description)}
    if set(fields) != names:
        raise KeyError(", ".join(sorted(set(fields) ^ names)))
    tuples: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
    return Description(**tuples)
