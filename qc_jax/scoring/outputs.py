"""The output folder: whose it is, and the maps of a scored scan as BIDS derivatives.

DIR/dataset_description.json, DIR/.bidsignore
DIR/<folder>/<prefix>_label-GM_probseg.nii.gz                  probability of grey matter
DIR/<folder>/<prefix>_label-GM_mask.nii.gz                     segmentation
DIR/<folder>/<prefix>_stat-variance_desc-<source>_statmap.nii.gz   task, every source, total
DIR/<folder>/<prefix>_stat-entropy_desc-total_statmap.nii.gz
DIR/<folder>/<name>.json                                       the record, see `record`
DIR/<folder>/<name>_volumes.js                                 what the report loads
DIR/qc_jax_assets/thumbnails/<name>.png                        for the group report
DIR/<name>.html                                                the report, see `scan_report`
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from zlib_ng import gzip_ng

import qc_jax
from qc_jax import files
from qc_jax.data import geometry
from qc_jax.models import Model
from qc_jax.scoring import ownership, wanted
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.ownership import Kind
from qc_jax.scoring.scan import ScanScore

_DESCRIPTION = "dataset_description.json"
_RAW = "raw"
"""What BIDS URIs call the data set that was scored."""
_IGNORED = "# Of qc_jax: what BIDS has no name for.\n" + "".join(
    f"{line}\n"
    for line in (
        "/group_*",
        "/*.html",
        f"/{ownership.ASSETS}",
        f"/{ownership.RATINGS}",
        "/*_????????",  # of scans that lay in no BIDS folder
        "*_volumes.js",
        "*_statmap.nii.gz",  # has a name for functional scans alone
        "*.json",  # records, and sidecars of the above; but for these
        "!dataset_description.json",
        "!*_mask.json",
        "!*_probseg.json",
        "*_mod-*",  # maps of another contrast than T1w
    )
)
_FINEST, _FINEST_VARIANCE = 0.001, 0.002
"""Steps of the stored numbers; that of variances is a tenth of the limit of detection, so that what
is below it is a handful of numbers and takes no room when compressed."""
_COMPRESSION = 6
"""Of gzip, 1 to 9; zlib-ng takes less time for 6 than zlib for 1, for files of five sixths."""


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
    """A map on the model's grid, its unit and what it is, by its name in a record; of the
    segmentation the map that it is the upper part of."""
    prediction = score.measurement.prediction
    if name == wanted.PROBABILITY:
        return prediction.probabilities[..., 1], "1", "probability of grey matter"
    if name == wanted.SEGMENTATION:
        return prediction.probabilities[..., 1], "1", "1 in grey matter"
    if name == wanted.ENTROPY:
        about = "entropy of the softmax scaled by the total variance"
        return score.measurement.entropy, "nat", about
    source = name.removesuffix(" variance")
    if source == "total":
        of_source, cause = prediction.variances.sum(axis=-1), "task and all sources"
    else:
        of_source = prediction.variances[..., list(score.scores).index(source)]
        cause = f"due to {source}"
    # Nothing is learnt of the air, and what is said of it takes half of the room.  A voxel more, so
    # that the interpolation leaves the head as it is.
    head = ndimage.binary_dilation(score.conformed.mask, np.ones((3, 3, 3)))
    about = f"variance of the logits, {cause}; 0 outside the head"
    return np.where(head, of_source, np.float32(0)), "logits^2", about


_IN_BIDS = {
    wanted.PROBABILITY: {"SpatialReference": "orig"},
    wanted.SEGMENTATION: {"SpatialReference": "orig", "Type": "ROI"},
}
"""What BIDS recommends to say of them."""


def _uri(job: Job) -> str:
    """Of a scan: a BIDS URI, of a plain file its path."""
    if not job.entities:
        return str(job.scan)
    return f"bids:{_RAW}:{(job.folder / job.scan.name).as_posix()}"


def raw_folder(jobs: Sequence[Job]) -> Path | None:
    """The BIDS folder that scans lie in, None for plain files."""
    folders = [job.scan.parents[len(job.folder.parts)] for job in jobs if job.entities]
    return folders[0] if folders else None


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
    files.remove_left_over(output / job.folder)
    about = {"Model": model.path.stem, "ModelSHA256": model.sha256, "Sources": [_uri(job)]}

    def write(name: str) -> str:
        volume, units, description = _content(name, score)
        path = output / job.folder / f"{job.prefix}_{_suffix(name)}.nii.gz"
        if name == wanted.SEGMENTATION:
            planes = (plane > score.threshold for plane in score.planes(volume))
            files.write_whole(path, lambda partial: save_mask(partial, image, planes))
        else:
            finest = _FINEST_VARIANCE if name.endswith(" variance") else _FINEST
            step = max(finest, float(volume.max()) / np.iinfo(np.int16).max)
            files.write_whole(
                path, lambda partial: save_map(partial, image, score.planes(volume), step)
            )
        files.write_json(
            path.with_name(path.name.removesuffix(".nii.gz") + ".json"),
            {**about, "Description": description, "Units": units, **_IN_BIDS.get(name, {})},
        )
        return path.relative_to(output).as_posix()

    # numpy and zlib-ng let others work meanwhile.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return dict(zip(names, threads.map(write, names), strict=True))


def save_map(
    path: Path, image: nib.spatialimages.SpatialImage, planes: Iterable[np.ndarray], step: float
) -> None:
    """Saves real numbers on the grid of an image as int16 with a slope.

    Args:
      path: of the `.nii.gz`.
      image: see `_header`.
      planes: `(Y, X)`, along z.
      step: of the stored numbers, 2^15 of which reach the highest.
    """
    header = _header(image, np.int16, step)
    _save(path, header, (np.rint(plane / np.float32(step)) for plane in planes))


def save_mask(
    path: Path, image: nib.spatialimages.SpatialImage, planes: Iterable[np.ndarray]
) -> None:
    """As `save_map`, of planes of bool, as uint8."""
    _save(path, _header(image, np.uint8, 1.0), planes)


def _save(path: Path, header: nib.Nifti1Header, planes: Iterable[np.ndarray]) -> None:
    """Compresses plane by plane, so that a map never is in memory as a whole."""
    with (
        path.open("wb") as file,
        gzip_ng.GzipNGFile("", "wb", _COMPRESSION, file, mtime=0) as packed,
    ):
        header.write_to(packed)
        for plane in planes:
            packed.write(plane.astype(header.get_data_dtype()).tobytes())


def _header(image: nib.spatialimages.SpatialImage, dtype: type, step: float) -> nib.Nifti1Header:
    """Of a map on the grid of an image: its qform and sform, their codes and their unit kept."""
    header = nib.Nifti1Header()
    header["descrip"] = f"{ownership.TOOL} {qc_jax.__version__}"
    header.set_data_dtype(dtype)
    nothing: np.ndarray = np.broadcast_to(np.zeros((), dtype), image.shape[:3])
    made = nib.Nifti1Image(nothing, image.affine, header).header
    geometry.keep_place(image, made)
    made.set_slope_inter(step, 0)
    return made


def claim(output: Path) -> None:
    """Makes the output folder and checks, before any work, that it is ours and can be written.

    A description that is there keeps what was added to it, and so does a `.bidsignore`.

    Raises:
      OutputError: it belongs to another, or cannot be written.
    """
    ownership.check_folder(output)
    ownership.check_unclaimed(output)
    path, maker = output / _DESCRIPTION, {"Name": ownership.TOOL, "Version": qc_jax.__version__}
    description = files.read_object(path) or {
        "Name": "qc_jax: quality of scans for measuring grey matter",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
    }
    description["GeneratedBy"] = [maker]
    files.write_json(path, description)
    if not (output / ".bidsignore").exists():
        files.write_text(output / ".bidsignore", _IGNORED)


def refer_to(output: Path, raw: Path) -> None:
    """Says in a claimed folder where the data set of its scans is, which BIDS URIs of maps refer
    to, and takes over its licence where there is none.

    Raises:
      OutputError: it cannot be written.
    """
    description = files.read_object(output / _DESCRIPTION)
    links = description.get("DatasetLinks")
    links = links if isinstance(links, dict) else {}
    description["DatasetLinks"] = links | {_RAW: _link(output, raw)}
    licence = files.read_object(raw / _DESCRIPTION).get("License")
    if isinstance(licence, str) and licence:
        description.setdefault("License", licence)
    files.write_json(output / _DESCRIPTION, description)


def _link(output: Path, raw: Path) -> str:
    """As a URI; relative where the outputs lie within, so that both can be moved together."""
    output, raw = output.resolve(), raw.resolve()
    if output.is_relative_to(raw):
        return "/".join([".."] * len(output.relative_to(raw).parts))
    return raw.as_uri()


def planned_files(output: Path, job: Job, names: Sequence[str]) -> Iterator[tuple[Path, Kind]]:
    """Every file that a scan's outputs are with these maps, and what it holds."""
    folder = output / job.folder
    for name in names:
        yield folder / f"{job.prefix}_{_suffix(name)}.nii.gz", "map"
        yield folder / f"{job.prefix}_{_suffix(name)}.json", "sidecar"
    yield folder / f"{job.name}.json", "record"
    yield folder / f"{job.name}_volumes.js", "volumes"
    yield output / ownership.THUMBNAILS / f"{job.name}.png", "picture"
    yield output / f"{job.name}.html", "report"
