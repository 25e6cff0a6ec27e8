"""Files of a scored scan: maps as BIDS derivatives, one JSON record, and whether they are there.

    DIR/dataset_description.json
    DIR/<folder>/<prefix>_label-GM_probseg.nii.gz                  probability of grey matter
    DIR/<folder>/<prefix>_label-GM_mask.nii.gz                     segmentation
    DIR/<folder>/<prefix>_stat-variance_desc-<source>_statmap.nii.gz   task, every source, total
    DIR/<folder>/<prefix>_stat-entropy_desc-total_statmap.nii.gz
    DIR/<folder>/<name>.json                                       the record

Files are written beside and renamed, the record last: a record that is there is whole, and so are
its maps.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import qc_jax
from qc_jax.data import geometry
from qc_jax.errors import OutputError
from qc_jax.models import Model
from qc_jax.scoring.scan import ScanScore

SCORED, REFUSED = "scored", "refused"


@dataclasses.dataclass(frozen=True)
class Job:
    """One scan to score and where its files go.

    Attributes:
      scan: path of the file.
      folder: of its outputs, within the output folder.
      prefix: of its maps' names.
      name: of the record and of the report, unique in the output folder.
      entities: subject, session, ...; empty for a plain file.
      suffix: contrast, as BIDS names it; its scans share a group table.
    """

    scan: Path
    folder: Path
    prefix: str
    name: str
    entities: dict[str, str]
    suffix: str = "T1w"


def write_maps(
    output: Path,
    job: Job,
    score: ScanScore,
    image: nib.spatialimages.SpatialImage,
    model: Model,
    sources: Sequence[str],
) -> dict[str, str]:
    """Writes the maps with their sidecars: of the task, the total, and these sources.

    Returns:
      File names within `output`, by what they hold.

    Raises:
      OutputError: they cannot be written.
    """
    about = {"Model": model.path.stem, "ModelSHA256": model.sha256, "Sources": [str(job.scan)]}
    maps = [
        ("probability", "label-GM_probseg", score.probability, "1", "probability of grey matter"),
        ("segmentation", "label-GM_mask", score.segmentation, "1", "1 in grey matter"),
    ]
    chosen = {name: score.variances[name] for name in ("task", *sources)}
    for name, variance in {**chosen, "total": score.total}.items():
        maps.append(
            (
                f"{name} variance",
                f"stat-variance_desc-{name}_statmap",
                variance,
                "logits^2",
                f"variance of the logits due to {name}"
                if name != "total"
                else "variance of the logits, task and all sources",
            )
        )
    maps.append(
        (
            "entropy",
            "stat-entropy_desc-total_statmap",
            score.entropy,
            "nat",
            "entropy of the softmax scaled by the total variance",
        )
    )
    written = {}
    try:
        (output / job.folder).mkdir(parents=True, exist_ok=True)
        for what, suffix, data, units, description in maps:
            path = output / job.folder / f"{job.prefix}_{suffix}.nii.gz"
            write_whole(path, functools.partial(nib.save, _like(image, data)))
            write_json(
                path.with_name(path.name.removesuffix(".nii.gz") + ".json"),
                {"Description": description, "Units": units, **about},
            )
            written[what] = str(path.relative_to(output))
    except OSError as error:
        raise OutputError(f"{output / job.folder} cannot be written ({error.strerror})") from error
    return written


def _like(image: nib.spatialimages.SpatialImage, data: np.ndarray) -> nib.Nifti1Image:
    """Data on the grid of the scan, qform and sform, their codes and their unit kept; real numbers
    as scaled int16."""
    result = nib.Nifti1Image(data, image.affine, nib.Nifti1Header())
    geometry.keep_place(image, result.header)
    result.set_data_dtype(np.uint8 if data.dtype == np.uint8 else np.int16)
    return result


def record_of(
    job: Job, model: Model, score: ScanScore, maps: dict[str, str], seconds: dict[str, float]
) -> dict[str, Any]:
    """The record of a scored scan."""
    found = score.interpretation
    record = {
        **_identity(job, model),
        "status": SCORED,
        "reason": "",
        "warnings": list(score.warnings),
        "scores": score.scores,
        "grey_matter_volume_ml": score.volume,
        "maps": maps,
        "seconds": seconds,
    }
    if found is not None:
        record |= {
            "grey_matter_volume_error_ml": score.volume_error,
            "percentiles": found.percentiles,
            "causes": found.causes,
            "cause_named": found.cause_named,
            "severities": found.severities,
            "predicted_dice": found.predicted_dice,
            "sentence": found.sentence,
        }
    return record


def refusal(job: Job, model: Model, reason: str) -> dict[str, Any]:
    """The record of a scan that could not be scored."""
    return {**_identity(job, model), "status": REFUSED, "reason": reason, "warnings": []}


def _identity(job: Job, model: Model) -> dict[str, Any]:
    return {
        "name": job.name,
        "file": str(job.scan),
        "folder": str(job.folder),
        "suffix": job.suffix,
        "stamp": _stamp(job.scan),
        "entities": job.entities,
        "model": model.path.stem,
        "model_sha256": model.sha256,
        "version": qc_jax.__version__,
    }


def _stamp(path: Path) -> list[int]:
    """Size and time of the last change, by which a changed scan is known."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def record_path(output: Path, job: Job) -> Path:
    """Where the record of a scan is."""
    return output / job.folder / f"{job.name}.json"


def finished_record(
    output: Path, job: Job, model: Model, sources: Sequence[str]
) -> dict[str, Any] | None:
    """The record of an earlier call, where the scan, the model and the version are the same, and
    the maps of these sources are there."""
    try:
        record = json.loads(record_path(output, job).read_text())
    except (OSError, ValueError):
        return None
    same = all(record.get(key) == value for key, value in _identity(job, model).items())
    maps = record.get("maps", {})
    wanted = {f"{name} variance" for name in sources} if record.get("status") == SCORED else set()
    whole = wanted <= set(maps) and all((output / name).exists() for name in maps.values())
    return record if same and whole else None


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Has a file written beside and renames it, so that it is always whole."""
    partial = path.with_name("." + path.name)
    write(partial)
    partial.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Written beside, on the disk, and renamed, so that the file is always whole.

    Raises:
      OutputError: it cannot be written.
    """
    partial = path.with_name("." + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror})") from error


def claim(output: Path) -> None:
    """Makes the output folder and checks, before any work, that it can be written.

    Raises:
      OutputError: it is a file, or cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file; name a folder for the output")
    write_json(
        output / "dataset_description.json",
        {
            "Name": "qc_jax: quality of scans for measuring grey matter",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "qc_jax", "Version": qc_jax.__version__}],
        },
    )
