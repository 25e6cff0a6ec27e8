"""Scores as MRIQC writes its image quality metrics: flat JSON files in a BIDS tree.

`bids_meta` and `provenance` have the fields and the types of the schema of MRIQC's Web-API
(nipreps/mriqcwebapi, `dockereve-master/eve-app/settings.py`); the metrics are ours, so that the
Web-API itself, which asks for all of MRIQC's, takes no such file.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from qc_jax import files
from qc_jax.errors import OutputError
from qc_jax.scoring import acquisition, ownership
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
    """Writes `FOLDER/sub-*/[ses-*/]anat/*_<suffix>.json` for every scored scan that is still there:
    by the hash of its file MRIQC knows a scan.

    Returns:
      How many were written.

    Raises:
      OutputError: one cannot be written.
    """
    written = 0
    for made in scored_of(records):
        md5 = _md5(Path(made["file"]))
        if md5:
            files.write_json(_path(folder, made), iqms(made, md5))
            written += 1
    return written


def _path(folder: Path, made: Scored) -> Path:
    return folder / made["folder"] / f"{made['name']}.json"


def iqms(made: Scored, md5: str) -> dict[str, object]:
    """One record: every number by a name of its own, `bids_meta` and `provenance` as in MRIQC.

    Args:
      made: of the scan.
      md5: of its file.
    """
    numbers = {f"qcjax_score_{name}": value for name, value in made["scores"].items()}
    numbers |= {f"qcjax_{name}": made[name] for name in DECIDING if name in made}
    entities = {_LONG.get(name, name): value for name, value in made["entities"].items()}
    sidecar = {
        name: value
        for name, value in made.get("acquisition", {}).items()
        if name not in acquisition.HEADER and acquisition.is_parameter(name, value)
    }
    return {
        "bids_meta": {**sidecar, "modality": made["suffix"], **entities},
        **numbers,
        "provenance": {
            "md5sum": md5,
            "settings": {"model": made["model"], "model_sha256": made["model_sha256"]},
            "software": "qc_jax",
            "version": made["version"],
            "warnings": dict.fromkeys(made["warnings"], True),
        },
    }


def _md5(path: Path) -> str:
    """Of a file; empty where it is no longer there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError:
        return ""
