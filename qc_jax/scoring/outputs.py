"""The output folder: whose it is, and the maps of a scored scan as BIDS derivatives.

DIR/dataset_description.json
DIR/<folder>/<prefix>_label-GM_probseg.nii.gz                  probability of grey matter
DIR/<folder>/<prefix>_label-GM_mask.nii.gz                     segmentation
DIR/<folder>/<prefix>_stat-variance_desc-<source>_statmap.nii.gz   task, every source, total
DIR/<folder>/<prefix>_stat-entropy_desc-total_statmap.nii.gz
DIR/<folder>/<name>.json                                       the record, see `record`
DIR/<folder>/<name>_volumes.js, <name>_thumbnail.png           what the reports load
DIR/<name>.html                                                the report, see `scan_report`
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
from qc_jax.scoring import ownership, wanted
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.ownership import Kind
from qc_jax.scoring.scan import ScanScore

_DESCRIPTION = "dataset_description.json"
_FINEST = 0.001
"""Step of the stored numbers: a twentieth of the limit of detection, so that what is below it is a
handful of numbers and takes no room when compressed."""


def _suffix(name: str) -> str:
    """Of the file of a map, by its name in a record."""
    if name.endswith(" variance"):
        return f"stat-variance_desc-{name.removesuffix(' variance')}_statmap"
    return {
        wanted.PROBABILITY: "label-GM_probseg",
        wanted.SEGMENTATION: "label-GM_mask",
        wanted.ENTROPY: "stat-entropy_desc-total_statmap",
    }[name]


def _content(name: str, score: ScanScore) -> tuple[np.ndarray, str, str]:
    """A map, its unit and what it is, by its name in a record."""
    if name == wanted.PROBABILITY:
        return score.probability, "1", "probability of grey matter"
    if name == wanted.SEGMENTATION:
        return score.segmentation, "1", "1 in grey matter"
    if name == wanted.ENTROPY:
        return score.entropy, "nat", "entropy of the softmax scaled by the total variance"
    source = name.removesuffix(" variance")
    if source == "total":
        return score.total, "logits^2", "variance of the logits, task and all sources"
    return score.variances[source], "logits^2", f"variance of the logits due to {source}"


def write_maps(
    output: Path,
    job: Job,
    score: ScanScore,
    image: nib.spatialimages.SpatialImage,
    model: Model,
    names: Sequence[str],
) -> dict[str, str]:
    """Writes these maps, see `Wanted.maps_of`, with their sidecars.

    Returns:
      File names within `output`, by what they hold.

    Raises:
      OutputError: they cannot be written.
    """
    about = {"Model": model.path.stem, "ModelSHA256": model.sha256, "Sources": [str(job.scan)]}
    written = {}
    files.remove_left_over(output / job.folder)
    for name in names:
        data, units, description = _content(name, score)
        path = output / job.folder / f"{job.prefix}_{_suffix(name)}.nii.gz"
        files.write_whole(path, functools.partial(nib.save, _like(image, data)))
        files.write_json(
            path.with_name(path.name.removesuffix(".nii.gz") + ".json"),
            {**about, "Description": description, "Units": units},
        )
        written[name] = path.relative_to(output).as_posix()
    return written


def _like(image: nib.spatialimages.SpatialImage, data: np.ndarray) -> nib.Nifti1Image:
    """Data from 0 on, on the grid of the scan, qform and sform, their codes and their unit kept;
    real numbers as int16 with a slope, in steps of `_FINEST` unless one is too large for that."""
    header = nib.Nifti1Header()
    header["descrip"] = f"{ownership.TOOL} {qc_jax.__version__}"
    whole = data.dtype == np.uint8
    step = 1.0 if whole else max(_FINEST, float(data.max()) / np.iinfo(np.int16).max)
    stored = data if whole else np.rint(data / step).astype(np.int16)
    result = nib.Nifti1Image(stored, image.affine, header)
    geometry.keep_place(image, result.header)
    result.set_data_dtype(stored.dtype)
    if not whole:
        result.header.set_slope_inter(step, 0)
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


def planned_files(output: Path, job: Job, names: Sequence[str]) -> Iterator[tuple[Path, Kind]]:
    """Every file that a scan's outputs are with these maps, and what it holds."""
    folder = output / job.folder
    for name in names:
        yield folder / f"{job.prefix}_{_suffix(name)}.nii.gz", "map"
        yield folder / f"{job.prefix}_{_suffix(name)}.json", "sidecar"
    yield folder / f"{job.name}.json", "record"
    yield folder / f"{job.name}_volumes.js", "volumes"
    yield folder / f"{job.name}_thumbnail.png", "picture"
    yield output / f"{job.name}.html", "report"
