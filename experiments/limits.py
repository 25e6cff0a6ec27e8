"""The range of every number on a command line: what lies outside it can only fail later.

This module does without jax, so that `--help` answers at once.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from qc_jax.errors import ConfigError

_STEPS = (1, 10**9)
_WEIGHT = (0, 1e6)
NAMED_GROUPS = ("plateau", "teacher_loss", "student_loss")
"""Groups whose name stands before that of their options."""
RANGES: Mapping[str, tuple[float, float]] = {
    "artefact_rate": (0, 0.999),
    "base_features": (1, 4096),
    "batch_size": (1, 100_000),
    "bias_field": (0, 10),
    "checkpoint_every": _STEPS,
    "deformation": (0, 100),
    "depth": (1, 12),
    "draws": (1, 100_000),
    "epsilon": (1e-12, 1e3),
    "evaluation_draws": (1, 100_000),
    "field_of_view": (1, 1024),
    "flips": (0, 10**6),
    "gradient_weight": _WEIGHT,
    "grey_matter_labels": (1, 10**6),
    "heads": (1, 10**6),
    "kills": (0, 10**6),
    "learning_rate": (1e-12, 10),
    "log_every": _STEPS,
    "overlap": (0, 0.95),
    "minutes": (0.01, 100_000),
    "patch": (1, 1024),
    "patch_candidates": (1, 10_000),
    "patches_per_scan": (1, 10_000),
    "patience": _STEPS,
    "threshold": (0, 0.999),
    "window": _STEPS,
    "process": (0, 10**6),
    "processes": (1, 10**6),
    "rotation": (0, 180),
    "scaling": (0, 0.9),
    "scans": (1, 10**6),
    "scoring_kills": (0, 10**6),
    # Seeds of evaluations are this one and a few millions.
    "seed": (0, 2_000_000_000),
    "smallest_epsilon": (0, 1e3),
    "ssim_weight": _WEIGHT,
    "steps": _STEPS,
    "steps_student": _STEPS,
    "steps_task": _STEPS,
    "steps_teachers": _STEPS,
    "stops": (0, 10**6),
    "subjects": (3, 100_000),
    "torchio_draws": (0, 100_000),
    "validation_heads": (1, 10**6),
    "voxel_size": (0.1, 20),
    "warm_up": (0, 10**9),
    "weight": _WEIGHT,
}
"""Least and largest, by the name of the option; a row of numbers has it for each of them."""


def check(arguments: Any, **others: tuple[float, float]) -> None:
    """Raises ConfigError for a number outside its range.

    Args:
      arguments: a dataclass of options, or of groups of them.
      others: ranges of options that have another one in this command.
    """
    ranges = {**RANGES, **others}
    for path, value in leaves(arguments).items():
        low, high = ranges.get(path[-1], (-math.inf, math.inf))
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not (math.isfinite(number) and low <= number <= high):
                raise ConfigError(
                    f"{_option(path)} {number}: choose a number from {low:g} to {high:g}"
                )


def leaves(config: Any) -> dict[tuple[str, ...], Any]:
    """The fields of a dataclass and of those that it holds, by the names on the way there."""
    found: dict[tuple[str, ...], Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= {(field.name, *path): leaf for path, leaf in leaves(value).items()}
        else:
            found[(field.name,)] = value
    return found


def _option(path: tuple[str, ...]) -> str:
    """As on the command line."""
    *groups, name = path
    said = [group for group in groups if group in NAMED_GROUPS]
    return f"--{'.'.join([*said, name]).replace('_', '-')}"
