"""What has to be known of a trained student, and whether it can be true.

A file that is whole may still hold what no training writes: a voxel of -8 mm, sources in another
order than those of the calibration, a scale of 0.  Nothing of that may be scored with.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, TypedDict

from qc_jax.augment.source import check_name
from qc_jax.network import UNet, check_divisible

_MOST = {"base_features": 4096, "depth": 12, "patch": 1024, "field_of_view": 1024}
_VOXEL_SIZES = (0.1, 20.0)
"""mm."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What has to be known of a network to use it.

    Attributes:
      sources: artefacts whose variances it predicts, in the order of its channels.
      base_features, depth, level_head, source_head: of the `UNet`.
      patch: voxels that the network sees at a time.
      voxel_size: in mm.
      field_of_view: voxels of a whole scan.
      looks: how each source shows in an image, for the reports, see `augment.Source`; empty for
        what the sources of this package say of themselves.
    """

    sources: tuple[str, ...]
    base_features: int
    depth: int
    level_head: bool
    patch: tuple[int, int, int]
    voxel_size: float
    field_of_view: tuple[int, int, int]
    source_head: bool = False
    looks: tuple[str, ...] = ()

    @property
    def network(self) -> UNet:
        """The student."""
        return UNet(
            num_sources=len(self.sources),
            base_features=self.base_features,
            depth=self.depth,
            level_head=self.level_head,
            source_head=self.source_head,
        )


def digest(facts: dict[str, Any]) -> str:
    """SHA-256 of facts, whatever the order of their fields and the white space between them."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def description_of(fields: Any) -> Description:
    """From what JSON holds.

    Raises:
      ValueError: a field is missing, unknown, of another type, or has a value that cannot be.
    """
    names = {field.name for field in dataclasses.fields(Description)}
    _require(isinstance(fields, dict), "the description is no object")
    # Files of version 0.9.0 do not name the source head, which networks did not have then, and
    # those of 0.11.0 do not say how sources look.
    fields = {"source_head": False, "looks": ()} | fields
    _require(set(fields) == names, f"fields {', '.join(sorted(set(fields) ^ names))} differ")
    listed: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
    description = Description(**listed)
    check_description(description)
    return description


def check_description(description: Description) -> None:
    """Raises ValueError unless there can be a network of this description."""
    sources = description.sources
    _require(isinstance(sources, tuple), f"sources are {sources!r}, no list of names")
    for name in sources:
        check_name(name)
    _require(len(set(sources)) == len(sources), f"sources {', '.join(sources)} are not distinct")
    looks = description.looks
    _require(
        isinstance(looks, tuple) and all(isinstance(text, str) for text in looks),
        f"looks are {looks!r}, no list of sentences",
    )
    _require(len(looks) in (0, len(sources)), f"{len(looks)} looks for {len(sources)} sources")
    for field in ("base_features", "depth"):
        _check_count(field, getattr(description, field), _MOST[field])
    for field in ("patch", "field_of_view"):
        edges = getattr(description, field)
        _require(isinstance(edges, tuple) and len(edges) == 3, f"{field} {edges!r} is no 3 numbers")
        for edge in edges:
            _check_count(field, edge, _MOST[field])
    for field in ("level_head", "source_head"):
        _require(
            isinstance(getattr(description, field), bool), f"{field} is neither true nor false"
        )
    _require(
        description.level_head or not description.source_head,
        "a source head without the level head that it stands on",
    )
    size = description.voxel_size
    _require(_is_number(size), f"voxel_size {size!r} is no number")
    low, high = _VOXEL_SIZES
    _require(low <= size <= high, f"voxel_size is {size:g} mm, and {low:g} to {high:g} are usable")
    check_divisible(description.patch, description.depth)
    _require(
        all(p <= n for p, n in zip(description.patch, description.field_of_view, strict=True)),
        f"patch {description.patch} is larger than field_of_view {description.field_of_view}",
    )


class CauseModel(TypedDict):
    """Logits of no artefact and of each source, and how often the likeliest was right of others."""

    classes: list[str]
    coefficients: list[list[float]]
    intercepts: list[float]
    accuracy: float


class SeveritySteps(TypedDict):
    """From standard scores of a source to the fraction of its severity; and their correlation."""

    standard_scores: list[float]
    fractions: list[float]
    spearman: float


class DiceModel(TypedDict):
    """The logit of the Dice coefficient, and how well it was predicted of others."""

    coefficients: list[float]
    intercept: float
    lowest_of_clean: float
    mean_absolute_error: float
    spearman: float


class VolumeScale(TypedDict):
    """What the error bar of a volume is multiplied with; shares within it before and after."""

    scale: float
    coverage_before: float
    coverage_after: float


class Calibration(TypedDict, total=False):
    """What the scores of a model mean, as `scoring.calibration.fit` learns it and a model's file
    holds it; all of it, or nothing where nothing was learnt.

    `reference` has the scores of clean scans by the name of the channel, in their order.
    """

    reference: dict[str, list[float]]
    log_mean: list[float]
    log_scale: list[float]
    cause: CauseModel
    severity: dict[str, SeveritySteps]
    dice: DiceModel
    volume: VolumeScale
    scans: int
    subjects: list[str]


def check_calibration(calibration: Any, sources: Sequence[str]) -> None:
    """Raises ValueError unless this is empty or what `scoring.calibration.fit` writes for these
    sources, all numbers finite and no scale zero."""
    _require(isinstance(calibration, dict), "the calibration is no object")
    if not calibration:
        return
    try:
        _check_parts(calibration, list(sources))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the calibration is not complete ({error!r})") from error


def _check_parts(calibration: dict[str, Any], sources: list[str]) -> None:
    names = ["task", *sources]
    channels = len(names)
    found = list(calibration["reference"])
    _require(
        found == names,
        f"the calibration is of {', '.join(found)}, the network of {', '.join(names)}",
    )
    for name, values in calibration["reference"].items():
        _check_row(f"reference of {name}", values, None, positive=True)
        _require(values == sorted(values), f"reference of {name} does not ascend")
    _check_row("log_mean", calibration["log_mean"], 2 * channels)
    _check_row("log_scale", calibration["log_scale"], 2 * channels, positive=True)

    cause = calibration["cause"]
    classes = cause["classes"]
    _require(
        sorted(classes) == sorted(["none", *sources]),
        f"causes {', '.join(map(str, classes))} are not the sources and none",
    )
    _require(len(cause["coefficients"]) == len(classes), "a row of coefficients for each cause")
    for row in cause["coefficients"]:
        _check_row("coefficients of the causes", row, 2 * len(sources))
    _check_row("intercepts of the causes", cause["intercepts"], len(classes))
    _check_row("accuracy of the causes", [cause["accuracy"]], 1, largest=1.0)

    severity = calibration["severity"]
    _require(
        list(severity) == sources, "the severities are not those of the sources in their order"
    )
    for name, steps in severity.items():
        scores, fractions = steps["standard_scores"], steps["fractions"]
        _check_row(f"severities of {name}", scores, None)
        _require(scores == sorted(scores), f"severities of {name} do not ascend")
        _check_row(f"severities of {name}", fractions, len(scores), largest=1.0)
        _require(min(fractions) >= 0, f"severities of {name} are below 0")

    dice, volume = calibration["dice"], calibration["volume"]
    _check_row("coefficients of Dice", dice["coefficients"], 2 * channels + 1)
    parts = ("intercept", "lowest_of_clean", "mean_absolute_error", "spearman")
    _check_row("Dice", [dice[k] for k in parts], len(parts))
    _check_row("scale of the volume", [volume["scale"]], 1, positive=True)
    coverages = [volume[k] for k in ("coverage_before", "coverage_after")]
    _check_row("coverage of the volume", coverages, 2, largest=1.0)
    _check_count("scans of the calibration", calibration["scans"], 10**9)
    _require(isinstance(calibration["subjects"], list), "subjects of the calibration are no list")


def _check_row(
    what: str,
    values: Any,
    number: int | None,
    positive: bool = False,
    largest: float = math.inf,
) -> None:
    """So many finite numbers, or at least one."""
    _require(
        isinstance(values, list) and all(map(_is_number, values)), f"{what}: no finite numbers"
    )
    wanted = len(values) == number if number is not None else bool(values)
    _require(wanted, f"{what}: {len(values)} numbers in the place of {number or 'some'}")
    _require(not positive or min(values) > 0, f"{what}: {min(values):g} is not above 0")
    _require(max(values) <= largest, f"{what}: {max(values):g} is above {largest:g}")


def _check_count(what: str, value: Any, most: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _require(whole and 1 <= value <= most, f"{what} is {value!r}, no whole number from 1 to {most}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)
