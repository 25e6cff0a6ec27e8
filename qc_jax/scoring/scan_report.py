"""The report of one scan: a page that opens from disk, without network.

Beside it are the viewer (once for all scans) and the volumes as a script, since a page on disk may
load scripts but not files.
"""

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import nibabel as nib
import numpy as np
from zlib_ng import gzip_ng

from qc_jax import files
from qc_jax.augment import ALL_SOURCES
from qc_jax.descriptions import Calibration, Description
from qc_jax.errors import OutputError
from qc_jax.models import Model
from qc_jax.scoring import pictures, planes, scale
from qc_jax.scoring.answer import severity_in_words
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.ownership import ASSETS, THUMBNAILS
from qc_jax.scoring.record_fields import Scored
from qc_jax.scoring.scan import OVERLAP, ScanScore

_HERE = Path(__file__).parent
TITLES = {"wrap": "wrap-around", "task": "anatomy (task)", "total": "total"}
"""What the reports call a map, where that is not its name."""
_HOW_TO_READ = {
    "task": "Doubt that the anatomy itself causes; borders of grey matter show on every scan.",
    "total": "The sum of all maps.",
}
"""What stands under those maps that are of no source."""


def captions(description: Description) -> dict[str, str]:
    """What stands under each map of a model: a source says itself how it looks."""
    ours = {source.name: source.looks for source in ALL_SOURCES}
    looks = description.looks or [ours.get(name, "") for name in description.sources]
    return _HOW_TO_READ | dict(zip(description.sources, looks, strict=True))


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of the package; everything that is put in is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def report_path(output: Path, job: Job) -> Path:
    """Where the report of a scan is."""
    return output / f"{job.name}.html"


def thumbnail_path(output: Path, job: Job) -> Path:
    """Where the small picture of a scan is."""
    return output / THUMBNAILS / f"{job.name}.png"


def forget(output: Path, job: Job) -> None:
    """Removes report and thumbnail of an earlier call for a scan that is refused now."""
    report_path(output, job).unlink(missing_ok=True)
    thumbnail_path(output, job).unlink(missing_ok=True)


class _Maps(NamedTuple):
    """What the maps of a scan are drawn from, on the grid of the model.

    Attributes:
      variances: `(X, Y, Z)` of each channel by name, the task first; 0 outside the head.
      total: `(X, Y, Z)`, their sum.
      ranges: of each, and of the total.
    """

    variances: dict[str, np.ndarray]
    total: np.ndarray
    ranges: dict[str, scale.Range]

    @property
    def all(self) -> dict[str, np.ndarray]:
        return {**self.variances, "total": self.total}


def _maps(score: ScanScore, model: Model) -> _Maps:
    names = ["task", *model.description.sources]
    # Nothing is learnt of the air around the head, so that nothing is shown of it.
    inside = np.where(score.conformed.mask[..., None], score.measurement.prediction.variances, 0.0)
    return _Maps(
        {name: inside[..., i] for i, name in enumerate(names)},
        inside.sum(axis=-1),
        {name: scale.range_of(name, model.calibration) for name in (*names, "total")},
    )


def write(output: Path, job: Job, score: ScanScore, record: Scored, model: Model) -> None:
    """Writes the report of a scored scan.

    Raises:
      OutputError: it cannot be written.
    """
    maps = _maps(score, model)
    volumes = {
        "scan": score.conformed.image,
        "grey matter": score.measurement.prediction.probabilities[..., 1],
        **{f"{name} variance": maps.ranges[name].shares(of) for name, of in maps.all.items()},
    }
    place, top = _middle(score), planes.brightest(score.data)
    script = job.folder / f"{job.name}_volumes.js"
    page = (
        environment()
        .get_template("scan.html")
        .render(
            **_of_model(record, model),
            **_of_maps(score, record, model, maps),
            own=_own_pictures(score, place, top),
            volumes=["scan", "grey matter", *(f"{name} variance" for name in maps.all)],
            script=script.as_posix(),
            assets=ASSETS,
        )
    )
    sizes = nib.affines.voxel_sizes(score.data_affine)
    files.write_bytes(
        thumbnail_path(output, job),
        planes.thumbnail(score.data, sizes, place, top),
    )
    files.write_text(output / script, _volumes_script(volumes, score.conformed.affine))
    files.write_text(report_path(output, job), page)


def _of_model(record: Scored, model: Model) -> dict[str, Any]:
    """What the page says in words and numbers."""
    names = ["task", *model.description.sources]
    return {
        "record": record,
        "known": model.calibration,
        "strips": [_strip(name, record, model.calibration) for name in names],
        "axis": scale.SCORE.labels(),
        "limit": scale.LIMIT,
        "at_limit": scale.AT_LIMIT,
        "words": severity_in_words,
        "titles": TITLES,
        "causes": model.description.sources,
        "description": model.description,
        "overlap": OVERLAP,
    }


def _of_maps(score: ScanScore, record: Scored, model: Model, maps: _Maps) -> dict[str, Any]:
    """What the page shows of the maps: over slices, and the first ones at their worst place."""
    conformed, order = score.conformed, shown_first(record, model.description.sources)
    slices, words = pictures.slices_of(conformed.mask), captions(model.description)
    shown: dict[str, dict[str, Any]] = {}
    for name, variance in maps.all.items():
        over = pictures.over_slices(conformed.image, variance, maps.ranges[name], slices)
        shown[name] = {
            "title": TITLES.get(name, name),
            "picture": pictures.png(over),
            "caption": words[name],
            "score": record["scores"].get(name),
            "ticks": maps.ranges[name].labels(),
            "found": name == "total" or scale.found(record, name),
        }
    for name in order.first:
        variance = maps.variances[name]
        size = model.description.voxel_size
        place = pictures.worst_place(variance, conformed.mask, size)
        shown[name]["planes"] = pictures.over_planes(
            conformed.image, variance, maps.ranges[name], place, size
        )
    outlined = pictures.outlined(conformed.image, score.measurement.grey_matter, slices)
    return {
        "order": order,
        "shown": shown,
        "segmentation": pictures.png(outlined),
        "gradient": pictures.gradient(),
    }


def _own_pictures(score: ScanScore, place: tuple[int, ...], top: float) -> dict[str, Any]:
    """The scan, its air, the outline of grey matter and k-space, all on the scan's own grid."""
    data, sizes = score.data, nib.affines.voxel_sizes(score.data_affine)
    region = nib.as_closest_canonical(nib.Nifti1Image(score.segmentation, score.affine))
    inside = np.asarray(region.dataobj, bool)
    evidence = score.signs.k_space
    copies = score.signs.copies
    return {
        "voxels": " x ".join(f"{size:.3g}" for size in sizes),
        "scan": planes.of_scan(data, sizes, place, top),
        "air": planes.of_scan(data, sizes, place, planes.AIR * top),
        "air_window": planes.AIR,
        "masked": planes.is_masked(data, top),
        "outline": planes.outlined(data, inside, sizes, place, top),
        "k_space": planes.of_k_space(evidence, copies),
        "findings": planes.findings(evidence, copies),
        "noise": evidence.noise,
    }


def _middle(score: ScanScore) -> tuple[int, ...]:
    """The voxel of the scan in the middle of the head."""
    mask = score.conformed.mask
    middle = np.argwhere(mask).mean(axis=0) if mask.any() else (np.array(mask.shape) - 1) / 2
    to_data = np.linalg.inv(score.data_affine) @ score.conformed.affine
    voxel = np.rint(nib.affines.apply_affine(to_data, middle)).astype(int)
    return tuple(np.clip(voxel, 0, np.array(score.data.shape) - 1).tolist())


class Order(NamedTuple):
    """Names of the maps of a report: in three planes, of slices, and folded away."""

    first: list[str]
    others: list[str]
    folded: list[str]


def shown_first(record: Scored, sources: Sequence[str]) -> Order:
    """The named causes first, those with a map before others, and where none of them has a map
    the strongest that was found, unless it is said that there is no artefact; then what else was
    found, the task and the total; what is at the limit of detection last.

    Args:
      record: of a scored scan.
      sources: all that the model knows.
    """
    local = record["local_scores"]
    found = sorted((s for s in sources if scale.found(record, s)), key=lambda s: -local[s])
    named = [s for s in record.get("named_causes", ()) if s in sources]
    named.sort(key=lambda source: source not in found)
    clean = record.get("cause_named", False) and not named
    first = named if clean or set(named) & set(found) else [*named, *found[:1]]
    others = [*(s for s in found if s not in first), "task", "total"]
    return Order(first, others, [s for s in sources if s not in (*first, *others)])


def copy_viewer(output: Path) -> None:
    """Puts the viewer of all reports, with its licence, into the output folder, where it is missing
    or cut short.

    Raises:
      OutputError: it cannot be written.
    """
    for source in sorted((_HERE / "static").iterdir()):
        target = output / ASSETS / source.name
        if target.is_file() and target.stat().st_size == source.stat().st_size:
            continue
        content = source.read_bytes()
        if target.exists() or target.is_symlink():
            there = target.read_bytes() if target.is_file() else b"no file"
            if not content.startswith(there) and b"niivue" not in there:
                raise OutputError(f"{target} is there already and not this viewer; move it")
        files.write_bytes(target, content)


def _strip(name: str, record: Scored, known: Calibration) -> dict[str, Any]:
    """Where a score lies beside those of clean scans, 0 to 100 on the axis of all scores."""
    score = record["scores"][name]
    reference = known["reference"][name] if known else []
    at, *others = scale.SCORE.positions([score, *reference]).tolist()
    found = scale.found(record, name)
    return {"name": name, "score": score, "at": at, "reference": others, "found": found}


# -- Volumes -----------------------------------------------------------------------------------


def _volumes_script(volumes: dict[str, np.ndarray], affine: np.ndarray) -> str:
    """`QC_JAX_VOLUMES`: by name, base64 of a gzipped NIfTI of 8 bits, of values in [0, 1]."""
    entries = []
    for name, volume in volumes.items():
        stored = np.rint(255 * np.clip(volume, 0, 1)).astype(np.uint8)
        image = nib.Nifti1Image(stored, affine)
        image.header.set_slope_inter(1 / 255, 0)
        packed = base64.b64encode(gzip_ng.compress(image.to_bytes(), 6)).decode()
        entries.append(f'"{name}": {{"data": "{packed}"}}')
    return "var QC_JAX_VOLUMES = {\n" + ",\n".join(entries) + "\n};\n"
