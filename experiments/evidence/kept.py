"""What was measured is kept, so that evidence that was cut goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments import run_folder
from qc_jax import data
from qc_jax.models import Model


def folder_for(parent: Path, model: Model, subjects: Sequence[data.Subject], seed: int) -> Path:
    """A folder for the scores of these weights, heads and seed, those of others apart."""
    known_by = [model.sha256, seed]
    known_by += [hashlib.sha256(subject.fractions).hexdigest() for subject in subjects]
    folder = parent / "scans" / hashlib.sha256(repr(known_by).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_or_make(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What `make` returned, made of lists, dictionaries, texts and numbers, now or before."""
    path = folder / f"{name}.json"
    if not path.exists():
        run_folder.write_json(path, make())
    return json.loads(path.read_text())
