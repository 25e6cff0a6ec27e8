"""Scores as MRIQC writes its image quality metrics: flat JSON files in a BIDS tree."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from qc_jax import files
from qc_jax.errors import OutputError
from qc_jax.scoring import ownership
from qc_jax.scoring.record_fields import DECIDING, Record, Scored, scored_of

_LONG = {
    "sub": "subject_id",
    "ses": "session_id",
    "run": "run_id",
    "acq": "acq_id",
    "rec": "rec_id",
}
"""What MRIQC calls the entities of BIDS."""


def check(folder: Path, output: Path, records: Sequence[Record]) -> None:
    """Raises OutputError where `write_iqms` would replace what it did not make."""
    if folder.resolve() == output.resolve():
        raise OutputError(f"{folder} holds the records; name another folder for the metrics")
    ownership.check_folder(folder)
    ownership.check_without_scans(folder, {made["folder"] for made in scored_of(records)})
    ownership.check_files((_path(folder, made), "iqms") for made in scored_of(records))


def write_iqms(folder: Path, records: Sequence[Record]) -> int:
    """Writes `FOLDER/sub-*/[ses-*/]anat/*_<suffix>.json` for every scored scan.

    Returns:
      How many were written.

    Raises:
      OutputError: one cannot be written.
    """
    scored = scored_of(records)
    for made in scored:
        files.write_json(_path(folder, made), iqms(made))
    return len(scored)


def _path(folder: Path, made: Scored) -> Path:
    return folder / made["folder"] / f"{made['name']}.json"


def iqms(made: Scored) -> dict[str, object]:
    """One record: every number by a name of its own, `bids_meta` and `provenance` as in MRIQC."""
    numbers = {f"qcjax_score_{name}": value for name, value in made["scores"].items()}
    numbers |= {f"qcjax_{name}": made[name] for name in DECIDING if name in made}
    entities = {_LONG.get(name, name): value for name, value in made["entities"].items()}
    return {
        "bids_meta": {"modality": made["suffix"], **entities},
        **numbers,
        "provenance": {
            "md5sum": _md5(Path(made["file"])),
            "settings": {"model": made["model"], "model_sha256": made["model_sha256"]},
            "software": "qc_jax",
            "version": made["version"],
            "warnings": made["warnings"],
        },
    }


def _md5(path: Path) -> str | None:
    """Of the file, by which MRIQC knows a scan; None where it is no longer there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError:
        return None
