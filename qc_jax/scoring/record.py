"""The record of a scan: what was found, or why it could not be scored, and what it stands for.

A record is JSON in the scan's folder of outputs, written after everything else.  It names the
contents of the scan by their hash and the files that were made by their sizes, so that a later call
knows what is done, wherever the scan lies by then, and makes again what is damaged or missing.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qc_jax
from qc_jax import files
from qc_jax.errors import OutputError
from qc_jax.models import Model
from qc_jax.scoring import ownership, scale
from qc_jax.scoring.decision import Decision, Rule, decide, undecided
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.scan import ScanScore
from qc_jax.scoring.wanted import Wanted

SCORED, REFUSED = "scored", "refused"
DECIDING = ("predicted_dice", "grey_matter_volume_ml", "grey_matter_volume_error_ml")
"""Numbers that a decision rests on."""
_MOST_HASHED = 2**32
"""Bytes; nothing larger is a scan, and it is refused by its header alone."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a scan held when it was looked at.

    Attributes:
      stamp: size, time of the last change of contents and of anything, and number of the file: as
        long as all four are the same, so are the contents.
      sha256: of the file; empty where it could not be read, or is far too large.
    """

    stamp: tuple[int, ...] = ()
    sha256: str = ""


def look(scan: Path) -> Contents:
    """At a scan, as it is now; it may be missing."""
    stamp = stamp_of(scan)
    try:
        hashed = bool(stamp) and stamp[0] <= _MOST_HASHED
        return Contents(stamp, files.sha256(scan) if hashed else "")
    except OSError:
        return Contents(stamp)


def stamp_of(scan: Path) -> tuple[int, ...]:
    """See `Contents`; empty where the file cannot be seen, or is none that can be read."""
    try:
        status = scan.stat()
    except OSError:
        return ()
    if not scan.is_file():
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def scored(
    job: Job,
    model: Model,
    contents: Contents,
    score: ScanScore,
    maps: dict[str, str],
    seconds: dict[str, float],
    rule: Rule,
    acquisition: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of a scored scan, without the sizes of its files.

    What is at the limit of detection has no percentile and no severity in it.
    """
    found = score.interpretation
    record = {
        **_identity(job, model, contents),
        "status": SCORED,
        "reason": "",
        "warnings": list(score.warnings),
        "scores": score.scores,
        "local_scores": score.local_scores,
        "grey_matter_volume_ml": score.volume,
        "acquisition": dict(acquisition),
        "maps": maps,
        "seconds": seconds,
    }
    if found is not None:
        record |= {
            "grey_matter_volume_error_ml": score.volume_error,
            "percentiles": {
                n: p for n, p in found.percentiles.items() if scale.has_percentile(record, n)
            },
            "causes": found.causes,
            "cause_named": found.cause_named,
            "severities": {n: s for n, s in found.severities.items() if scale.found(record, n)},
            "predicted_dice": found.predicted_dice,
            "sentence": found.sentence,
            "named_causes": list(found.named_causes),
        }
    decided = decision_of(record, rule)
    return record | {"decision": decided.word, "decision_reason": decided.why}


def decision_of(fields: Mapping[str, Any], rule: Rule) -> Decision:
    """Whether a scan is kept, by its record or its row of a table.

    Records of a model without calibration hold nothing to decide by; those of version 0.8 and
    before do not say whether the cause was doubtful, which then counts as not.
    """
    if fields["status"] == REFUSED:
        return undecided("it was refused and has no scores")
    dice, volume, error = (fields.get(name) for name in DECIDING)
    if dice is None or volume is None or error is None:
        return undecided("its model has no calibration and predicts no Dice coefficient")
    return decide(dice, volume, error, fields.get("cause_named") is not False, rule)


def refusal(
    job: Job, model: Model, contents: Contents, reason: str, passing: bool = False
) -> dict[str, Any]:
    """The record of a scan that could not be scored.

    Args:
      job: the scan.
      model: that would have scored it.
      contents: of the scan.
      reason: one sentence that names the file.
      passing: the cause may be gone in the next call (time, memory, a disk that does not answer).
    """
    return {
        **_identity(job, model, contents),
        "status": REFUSED,
        "reason": reason,
        "passing": passing,
        "warnings": [],
    }


def _identity(job: Job, model: Model, contents: Contents) -> dict[str, Any]:
    return {
        "name": job.name,
        "model": model.path.stem,
        "model_sha256": model.sha256,
        "version": qc_jax.__version__,
        "file": str(job.scan.absolute()),
        "sha256": contents.sha256,
        "stamp": list(contents.stamp),
        "folder": str(job.folder),
        "suffix": job.suffix,
        "entities": job.entities,
    }


def record_path(output: Path, job: Job) -> Path:
    """Where the record of a scan is."""
    return output / job.folder / f"{job.name}.json"


def sizes(output: Path, paths: Sequence[Path]) -> dict[str, int]:
    """Bytes of files, by their names within the output folder.

    Raises:
      OSError: one is missing.
    """
    return {path.relative_to(output).as_posix(): path.stat().st_size for path in paths}


def finished(output: Path, job: Job, model: Model, wanted: Wanted) -> dict[str, Any] | None:
    """The record of an earlier call that still holds, or None.

    The contents of the scan, the model and the version but for its last number have to be the same,
    and all files there and whole, the wanted maps among them; a refusal must not have been for a
    passing cause.  Where only the place of the scan has changed, the record has it
    afterwards.
    """
    record = read(record_path(output, job))
    if record is None or record["model_sha256"] != model.sha256:
        return None
    if _without_patch(record["version"]) != _without_patch(qc_jax.__version__):
        return None
    if not _is_complete(output, record, wanted):
        return None
    stamp = stamp_of(job.scan)
    if stamp != tuple(record.get("stamp", ())):
        contents = look(job.scan)
        if not contents.sha256 or contents.sha256 != record.get("sha256"):
            return None
        stamp = contents.stamp
    elif not stamp:  # not there then, and not now
        return None
    place = {"file": str(job.scan.absolute()), "stamp": list(stamp)}
    if any(record[key] != value for key, value in place.items()):
        record |= place
        files.write_json(record_path(output, job), record)
    return record


def check_replaceable(output: Path, job: Job) -> None:
    """Raises OutputError where the outputs of a scan would replace those of another scan, which is
    still there, or maps that somebody has changed."""
    record = read(record_path(output, job))
    if record is None:
        return
    ownership.check_unchanged(output, record.get("files", {}))
    earlier = Path(record["file"])
    if _is_another(earlier, job.scan) and look(job.scan).sha256 != record.get("sha256"):
        raise OutputError(
            f"{output} holds {job.name} of {earlier}, which is another scan than {job.scan}; name "
            "an output folder for each data set"
        )


def _is_another(earlier: Path, scan: Path) -> bool:
    """Whether there is a file at both places, and not the same one."""
    return earlier.is_file() and scan.is_file() and not os.path.samefile(earlier, scan)


def same_scan(output: Path, job: Job, earlier: Sequence[str]) -> Job:
    """A plain scan that has moved, under the name that it has in the output folder already, if any.

    Args:
      output: the output folder.
      job: a plain scan that has no record of its own name.
      earlier: names of records that begin as the scan's does.
    """
    size = (stamp_of(job.scan) or (0,))[0]
    contents = Contents()
    for name in earlier:
        record = read(record_path(output, job.called(name)))
        if record is None or not size or record.get("stamp", [])[:1] != [size]:
            continue
        if _is_another(Path(record["file"]), job.scan):  # a copy, of which both are scored
            continue
        contents = contents if contents.stamp else look(job.scan)
        if contents.sha256 and record.get("sha256") == contents.sha256:
            return job.called(name)
    return job


def read(path: Path) -> dict[str, Any] | None:
    """A record of this version's form, or None for whatever else there is."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if is_record(content) else None


_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "model": str,
    "model_sha256": str,
    "version": str,
    "file": str,
    "folder": str,
    "suffix": str,
    "entities": dict,
    "status": str,
    "reason": str,
    "warnings": list,
}


def is_record(content: Any) -> bool:
    """Whether JSON is a record whose paths stay in the output folder."""
    if not isinstance(content, dict) or content.get("status") not in (SCORED, REFUSED):
        return False
    if not all(isinstance(content.get(key), kind) for key, kind in _TYPES.items()):
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


def _is_complete(output: Path, record: dict[str, Any], wanted: Wanted) -> bool:
    if record["status"] == REFUSED:
        return not record.get("passing", False)
    if not set(wanted.maps_of(record.get("named_causes", ()))) <= set(record.get("maps", {})):
        return False
    expected = record.get("files", {})
    try:
        return bool(expected) and sizes(output, [output / name for name in expected]) == expected
    except OSError:
        return False


def _without_patch(version: str) -> str:
    return version.rpartition(".")[0]
