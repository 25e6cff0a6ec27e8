"""Scores as MRIQC writes its image quality metrics: flat JSON files in a BIDS tree."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_jax.scoring import outputs

_LONG = {
    "sub": "subject_id",
    "ses": "session_id",
    "run": "run_id",
    "acq": "acq_id",
    "rec": "rec_id",
}
"""What MRIQC calls the entities of BIDS."""


def write_iqms(folder: Path, records: Sequence[dict[str, Any]]) -> int:
    """Writes `FOLDER/sub-*/[ses-*/]anat/*_<suffix>.json` for every scored scan.

    Returns:
      How many were written.

    Raises:
      OutputError: one cannot be written.
    """
    scored = [record for record in records if record["status"] == outputs.SCORED]
    for record in scored:
        outputs.write_json(folder / record["folder"] / f"{record['name']}.json", iqms(record))
    return len(scored)


def iqms(record: dict[str, Any]) -> dict[str, Any]:
    """One record: every number by a name of its own, `bids_meta` and `provenance` as in MRIQC."""
    numbers = {f"qcjax_score_{name}": value for name, value in record["scores"].items()}
    for name in ("predicted_dice", "grey_matter_volume_ml", "grey_matter_volume_error_ml"):
        if name in record:
            numbers[f"qcjax_{name}"] = record[name]
    entities = {_LONG.get(name, name): value for name, value in record["entities"].items()}
    return {
        "bids_meta": {"modality": record["suffix"], **entities},
        **numbers,
        "provenance": {
            "md5sum": _md5(Path(record["file"])),
            "settings": {"model": record["model"], "model_sha256": record["model_sha256"]},
            "software": "qc_jax",
            "version": record["version"],
            "warnings": record["warnings"],
        },
    }


def _md5(path: Path) -> str | None:
    """Of the file, by which MRIQC knows a scan; None where it is no longer there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError:
        return None
