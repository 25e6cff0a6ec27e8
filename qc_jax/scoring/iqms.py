"""Scores as MRIQC writes its image quality metrics: flat JSON files in a BIDS tree."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_jax import files
from qc_jax.data import nifti
from qc_jax.errors import OutputError
from qc_jax.scoring import ownership, record

_LONG = {
    "sub": "subject_id",
    "ses": "session_id",
    "run": "run_id",
    "acq": "acq_id",
    "rec": "rec_id",
}
"""What MRIQC calls the entities of BIDS."""


def check(folder: Path, output: Path, records: Sequence[dict[str, Any]]) -> None:
    """Raises OutputError where `write_iqms` would replace what it did not make."""
    if folder.resolve() == output.resolve():
        raise OutputError(f"{folder} holds the records; name another folder for the metrics")
    ownership.check_folder(folder)
    for made in _scored(records):
        if any(map(nifti.is_nifti, (folder / made["folder"]).glob("*"))):
            raise OutputError(
                f"{folder / made['folder']} holds scans; name another folder for the metrics"
            )
    ownership.check_files((_path(folder, made), "iqms") for made in _scored(records))


def write_iqms(folder: Path, records: Sequence[dict[str, Any]]) -> int:
    """Writes `FOLDER/sub-*/[ses-*/]anat/*_<suffix>.json` for every scored scan.

    Returns:
      How many were written.

    Raises:
      OutputError: one cannot be written.
    """
    scored = _scored(records)
    for made in scored:
        files.write_json(_path(folder, made), iqms(made))
    return len(scored)


def _scored(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [made for made in records if made["status"] == record.SCORED]


def _path(folder: Path, made: dict[str, Any]) -> Path:
    return folder / made["folder"] / f"{made['name']}.json"


def iqms(made: dict[str, Any]) -> dict[str, Any]:
    """One record: every number by a name of its own, `bids_meta` and `provenance` as in MRIQC."""
    numbers = {f"qcjax_score_{name}": value for name, value in made["scores"].items()}
    for name in ("predicted_dice", "grey_matter_volume_ml", "grey_matter_volume_error_ml"):
        if name in made:
            numbers[f"qcjax_{name}"] = made[name]
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
