"""The record of a scan: what was found, or why it could not be scored, and what it stands for.

A record is JSON in the scan's folder of outputs, written after everything else.  It names the
contents of the scan by their hash and the files that were made by their sizes, so that a later call
knows what is done, wherever the scan lies by then, and makes again what is damaged or missing.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import qc_jax
from qc_jax import files
from qc_jax.errors import ConfigError, OutputError
from qc_jax.models import Model
from qc_jax.scoring import decision, ownership, scale
from qc_jax.scoring.decision import Decision, Rule
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.record_fields import (
    REFUSED,
    SCORED,
    Identity,
    Record,
    Refused,
    Scored,
    is_record,
)
from qc_jax.scoring.scan import ScanScore
from qc_jax.scoring.wanted import Wanted

_MOST_HASHED = 2**32
"""Bytes; nothing larger is a scan, and it is refused by its header alone."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a scan held when it was looked at.

    Attributes:
      stamp: size, time of the last change of contents and of anything, and number of the file: as
        long as all four are the same, so are the contents.  Of a folder of DICOM files the sum of
        the sizes, the latest times, and the number of files.
      sha256: of the file, or of the hashes of all files in a folder; empty where one could not be
        read, or is far too large.
    """

    stamp: tuple[int, ...] = ()
    sha256: str = ""


def look(scan: Path) -> Contents:
    """At a scan, as it is now; it may be missing."""
    stamp = stamp_of(scan)
    try:
        hashed = bool(stamp) and stamp[0] <= _MOST_HASHED
        return Contents(stamp, _sha256(scan) if hashed else "")
    except OSError:
        return Contents(stamp)


def _sha256(scan: Path) -> str:
    if not scan.is_dir():
        return files.sha256(scan)
    every = "\n".join(files.sha256(path) for path in _inside(scan))
    return hashlib.sha256(every.encode()).hexdigest()


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def stamp_of(scan: Path) -> tuple[int, ...]:
    """See `Contents`; empty where the file cannot be seen, or is none that can be read."""
    try:
        if scan.is_dir():
            every = [path.stat() for path in _inside(scan)]
            changed = [(s.st_mtime_ns, s.st_ctime_ns) for s in every]
            latest = [max(times) for times in zip(*changed, strict=True)]
            return (sum(s.st_size for s in every), *latest, len(every)) if every else ()
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
    acquisition: Mapping[str, object],
) -> Scored:
    """The record of a scored scan, without the sizes of its files."""
    made: Scored = {
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
    found = score.interpretation
    if found is not None:
        made |= {
            "grey_matter_volume_error_ml": score.volume_error,
            "percentiles": {
                n: p for n, p in found.percentiles.items() if scale.has_percentile(made, n)
            },
            "causes": found.causes,
            "cause_named": found.cause_named,
            "severities": {n: s for n, s in found.severities.items() if scale.found(made, n)},
            "predicted_dice": found.predicted_dice,
            "sentence": found.sentence,
            "named_causes": list(found.named_causes),
        }
    decided = decision_of(made, rule)
    return made | {"decision": decided.word, "decision_reason": decided.why}


def decision_of(made: Record, rule: Rule) -> Decision:
    """Whether a scan is kept, by its record."""
    if made["status"] == REFUSED:
        return decision.OF_REFUSED
    return decision.decide_known(
        made.get("predicted_dice"),
        made.get("grey_matter_volume_ml"),
        made.get("grey_matter_volume_error_ml"),
        made.get("cause_named"),
        rule,
    )


def refusal(
    job: Job, model: Model, contents: Contents, reason: str, passing: bool = False
) -> Refused:
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


def _identity(job: Job, model: Model, contents: Contents) -> Identity:
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


def finished(output: Path, job: Job, model: Model, wanted: Wanted) -> Record | None:
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
    file, found = str(job.scan.absolute()), list(stamp)
    if record["file"] != file or record.get("stamp") != found:
        record |= {"file": file, "stamp": found}
        files.write_json(record_path(output, job), record)
    return record


def check_replaceable(output: Path, job: Job) -> None:
    """Raises OutputError where the outputs of a scan would replace those of another scan, which is
    still there, or maps that somebody has changed."""
    record = read(record_path(output, job))
    if record is None:
        return
    if record["status"] == SCORED:
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


def read(path: Path) -> Record | None:
    """A record of this version's form, or None for whatever else there is."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if is_record(content) else None


def read_records(output: Path) -> list[Record]:
    """Every record of an output folder, by name; what is none is passed over.

    Raises:
      ConfigError: there is none.
    """
    if not output.is_dir():
        raise ConfigError(f"{output} is no folder; run the participant level first")
    records = {}
    for path in _possible_records(output):
        record = read(path)
        # A copy elsewhere, a backup say, is no record of this folder.
        if record is not None and path == output / record["folder"] / f"{record['name']}.json":
            records[record["name"]] = record
    if not records:
        raise ConfigError(f"{output} holds no scored scans; run the participant level first")
    return [records[name] for name in sorted(records)]


def _possible_records(output: Path) -> Iterator[Path]:
    """JSON files that are not the sidecar of a map: of a dozen files a scan, the one to open."""
    links = [e.path for e in os.scandir(output) if e.is_symlink() and e.is_dir()]
    for folder, _, names in itertools.chain(os.walk(output), *map(os.walk, links)):
        maps = {name.removesuffix(".nii.gz") for name in names if name.endswith(".nii.gz")}
        for name in names:
            if name.endswith(".json") and not name.startswith(".") and name[:-5] not in maps:
                yield Path(folder, name)


def _is_complete(output: Path, record: Record, wanted: Wanted) -> bool:
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
