"""The output folder: whose it is, and the maps of a scored scan as BIDS derivatives.

DIR/dataset_description.json
DIR/<folder>/<prefix>_label-GM_probseg.nii.gz                  probability of grey matter
DIR/<folder>/<prefix>_label-GM_mask.nii.gz                     segmentation
DIR/<folder>/<prefix>_stat-variance_desc-<source>_statmap.nii.gz   task, every source, total
DIR/<folder>/<prefix>_stat-entropy_desc-total_statmap.nii.gz
DIR/<folder>/<name>.json                                       the record, see `record`
DIR/<folder>/<name>_volumes.js, DIR/<name>.html                the report, see `scan_report`
"""

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import qc_jax
from qc_jax import files
from qc_jax.data import geometry
from qc_jax.models import Model
from qc_jax.scoring import ownership
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.ownership import Kind
from qc_jax.scoring.scan import ScanScore

_DESCRIPTION = "dataset_description.json"
_PROBABILITY, _MASK = "label-GM_probseg", "label-GM_mask"
_ENTROPY = "stat-entropy_desc-total_statmap"


def _variance(name: str) -> str:
    return f"stat-variance_desc-{name}_statmap"


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
        ("probability", _PROBABILITY, score.probability, "1", "probability of grey matter"),
        ("segmentation", _MASK, score.segmentation, "1", "1 in grey matter"),
    ]
    chosen = {name: score.variances[name] for name in ("task", *sources)}
    for name, variance in {**chosen, "total": score.total}.items():
        maps.append(
            (
                f"{name} variance",
                _variance(name),
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
            _ENTROPY,
            score.entropy,
            "nat",
            "entropy of the softmax scaled by the total variance",
        )
    )
    written = {}
    files.remove_left_over(output / job.folder)
    for what, suffix, data, units, description in maps:
        path = output / job.folder / f"{job.prefix}_{suffix}.nii.gz"
        files.write_whole(path, functools.partial(nib.save, _like(image, data)))
        files.write_json(
            path.with_name(path.name.removesuffix(".nii.gz") + ".json"),
            {**about, "Description": description, "Units": units},
        )
        written[what] = path.relative_to(output).as_posix()
    return written


def _like(image: nib.spatialimages.SpatialImage, data: np.ndarray) -> nib.Nifti1Image:
    """Data on the grid of the scan, qform and sform, their codes and their unit kept; real numbers
    as scaled int16."""
    header = nib.Nifti1Header()
    header["descrip"] = f"{ownership.TOOL} {qc_jax.__version__}"
    result = nib.Nifti1Image(data, image.affine, header)
    geometry.keep_place(image, result.header)
    result.set_data_dtype(np.uint8 if data.dtype == np.uint8 else np.int16)
    return result


def claim(output: Path) -> None:
    """Makes the output folder and checks, before any work, that it is ours and can be written.

    A description that is there keeps what was added to it.

    Raises:
      OutputError: it belongs to another, or cannot be written.
    """
    ownership.check_folder(output)
    ownership.check_unclaimed(output)
    path, maker = output / _DESCRIPTION, {"Name": ownership.TOOL, "Version": qc_jax.__version__}
    try:
        description: dict[str, Any] = json.loads(path.read_bytes())
        description["GeneratedBy"] = [maker]
    except (OSError, ValueError):
        description = {
            "Name": "qc_jax: quality of scans for measuring grey matter",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [maker],
        }
    files.write_json(path, description)


def planned_files(output: Path, job: Job, sources: Sequence[str]) -> Iterator[tuple[Path, Kind]]:
    """Every file that a scan's outputs will be, and what it holds."""
    folder = output / job.folder
    for suffix in (_PROBABILITY, _MASK, _ENTROPY, *map(_variance, ("task", *sources, "total"))):
        yield folder / f"{job.prefix}_{suffix}.nii.gz", "map"
        yield folder / f"{job.prefix}_{suffix}.json", "sidecar"
    yield folder / f"{job.name}.json", "record"
    yield folder / f"{job.name}_volumes.js", "volumes"
    yield output / f"{job.name}.html", "report"
