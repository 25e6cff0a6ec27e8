"""The fields of a record, by name and type, and whether what JSON holds is a record.

The JSON on disk is the interface, and these are its types: `group` reads what earlier versions have
written, so that a field which one of them lacks need not be there.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
    NotRequired,
    TypedDict,
    TypeGuard,
    get_args,
    get_origin,
    get_type_hints,
)

SCORED: Final = "scored"
REFUSED: Final = "refused"
Deciding = Literal["predicted_dice", "grey_matter_volume_ml", "grey_matter_volume_error_ml"]
DECIDING: tuple[Deciding, ...] = get_args(Deciding)
"""Numbers that a decision rests on."""


class Identity(TypedDict):
    """Which scan a record is of, and what has scored it.

    Attributes:
      name: of the record, unique in the output folder.
      model, model_sha256: name and SHA-256 of the weights.
      version: of qc_jax.
      file: path of the scan.
      sha256, stamp: see `record.Contents`.
      folder, suffix, entities: see `Job`.
    """

    name: str
    model: str
    model_sha256: str
    version: str
    file: str
    sha256: NotRequired[str]
    stamp: NotRequired[list[int]]
    folder: str
    suffix: str
    entities: dict[str, str]


class Meaning(TypedDict, total=False):
    """What the scores mean, see `calibration.Interpretation`; a model without calibration does not
    say it.  What is at the limit of detection has no percentile and no severity.
    """

    grey_matter_volume_error_ml: float
    percentiles: dict[str, float]
    causes: dict[str, float]
    cause_named: bool
    severities: dict[str, float]
    predicted_dice: float
    sentence: str
    named_causes: list[str]


class Scored(Identity, Meaning):
    """The record of a scored scan.

    Attributes:
      reason: empty.
      warnings, scores, local_scores: see `ScanScore`.
      grey_matter_volume_ml: likewise.
      acquisition: see `acquisition.read`.
      maps: file names within the output folder, by what they hold.
      seconds: that each step took.
      decision, decision_reason: see `decision.decide`.
      files: bytes of all files that were made, by their names within the output folder.
    """

    status: Literal["scored"]
    reason: str
    warnings: list[str]
    scores: dict[str, float]
    local_scores: NotRequired[dict[str, float]]
    grey_matter_volume_ml: NotRequired[float]
    acquisition: NotRequired[dict[str, object]]
    maps: NotRequired[dict[str, str]]
    seconds: NotRequired[dict[str, float]]
    decision: NotRequired[str]
    decision_reason: NotRequired[str]
    files: NotRequired[dict[str, int]]


class Refused(Identity):
    """The record of a scan that could not be scored.

    Attributes:
      reason: one sentence that names the file.
      passing: the cause may be gone in the next call (time, memory, a disk that does not answer).
      warnings: none.
    """

    status: Literal["refused"]
    reason: str
    passing: NotRequired[bool]
    warnings: list[str]


Record = Scored | Refused
_IN_EVERY: dict[str, type] = {
    name: get_origin(kind) or kind
    for name, kind in get_type_hints(Refused).items()
    if name in Refused.__required_keys__ and name != "status"
}
"""Fields of every record but its status, and their types in JSON."""


def scored_of(records: Sequence[Record]) -> list[Scored]:
    """Those of scored scans."""
    return [made for made in records if made["status"] == SCORED]


def is_record(content: Any) -> TypeGuard[Record]:
    """Whether JSON is a record whose paths stay in the output folder."""
    if not isinstance(content, dict) or content.get("status") not in (SCORED, REFUSED):
        return False
    if not all(isinstance(content.get(key), kind) for key, kind in _IN_EVERY.items()):
        return False
    folder, entities = Path(content["folder"]), content["entities"]
    if folder.is_absolute() or ".." in folder.parts:
        return False
    texts = (*entities, *entities.values(), *content["warnings"])
    if not all(isinstance(text, str) for text in texts):
        return False
    columns = (*entities, *(content.get("scores") or {}), *(content.get("percentiles") or {}))
    if not all(re.fullmatch(r"\w{1,64}", text, re.ASCII) for text in (content["suffix"], *columns)):
        return False
    name = content["name"]
    if not name or len(name) > 255 or name.startswith(".") or "/" in name or min(name) < " ":
        return False
    tables = (content.get("scores", {}), content.get("percentiles", {}), content.get("files", {}))
    if not all(isinstance(table, dict) and _are_numbers(table.values()) for table in tables):
        return False
    if not _are_numbers(content[key] for key in DECIDING if key in content):
        return False
    maps, stamp = content.get("maps", {}), content.get("stamp", [])
    named = content.get("named_causes", [])
    return (
        isinstance(maps, dict)
        and all(isinstance(name, str) for name in maps.values())
        and isinstance(stamp, list)
        and isinstance(content.get("acquisition", {}), dict)
        and isinstance(content.get("sentence", ""), str)
        and isinstance(named, list)
        and all(isinstance(name, str) for name in named)
        and isinstance(content.get("cause_named", True), bool)
        and ("scores" in content) == (content["status"] == SCORED)
    )


def _are_numbers(values: Any) -> bool:
    return all(
        isinstance(value, int | float) and (isinstance(value, float) or abs(value) < 2**53)
        for value in values
    )
