"""The report of one scan: a page that opens from disk, without network.

Beside it are the viewer (once for all scans) and the volumes as a script, since a page on disk may
load scripts but not files.
"""

import base64
import gzip
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

from qc_jax import files
from qc_jax.errors import OutputError
from qc_jax.models import Model
from qc_jax.scoring.answer import severity_in_words
from qc_jax.scoring.jobs import Job
from qc_jax.scoring.ownership import ASSETS
from qc_jax.scoring.scan import ScanScore

_HERE = Path(__file__).parent
_SLICES = 8
_ZOOM = 2
_MAP_COLOURS = "viridis"

HOW_TO_READ = {
    "task": "Doubt that the anatomy itself causes; borders of grey matter show on every scan.",
    "motion": "The head moved during the scan: blurred, doubled edges along one direction.",
    "spike": "An RF spike: stripes over the whole image.",
    "noise": "Grain everywhere, most where the signal is weak.",
    "ghosting": "Faint copies of the head, shifted along one direction.",
    "blur": "Resolution lost along one direction: the folds run together.",
    "wrap": "Lines of k-space missing: the head folds over itself.",
}


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


def forget(output: Path, job: Job) -> None:
    """Removes the report of an earlier call for a scan that is refused now."""
    report_path(output, job).unlink(missing_ok=True)


def write(output: Path, job: Job, score: ScanScore, record: dict[str, Any], model: Model) -> None:
    """Writes the report of a scored scan.

    Raises:
      OutputError: it cannot be written.
    """
    conformed, prediction = score.conformed, score.measurement.prediction
    slices = _slices(conformed.mask)
    names = ["task", *model.description.sources]
    total = prediction.variances.sum(axis=-1)
    # One scale for all maps of a scan, so that they compare.
    top = float(np.percentile(total[conformed.mask], 99.5))
    pictures = [
        {
            "title": f"{name} variance",
            "picture": _png(_overlay(conformed.image, volume, top, slices)),
            "caption": caption,
            "score": record["scores"].get(name),
        }
        for name, volume, caption in [
            *(
                (name, prediction.variances[..., i], HOW_TO_READ.get(name, ""))
                for i, name in enumerate(names)
            ),
            ("total", total, "The sum of the maps above."),
        ]
    ]
    volumes = {
        "scan": conformed.image,
        "grey matter": prediction.probabilities[..., 1],
        **{f"{n} variance": prediction.variances[..., i] for i, n in enumerate(names)},
        "total variance": total,
    }
    page = (
        environment()
        .get_template("scan.html")
        .render(
            record=record,
            names=names,
            known=model.calibration,
            strips=[_strip(name, record, model.calibration) for name in names],
            words=severity_in_words,
            segmentation=_png(_outlined(conformed.image, score.measurement.grey_matter, slices)),
            pictures=pictures,
            top=top,
            gradient=", ".join(
                matplotlib.colors.to_hex(c)
                for c in matplotlib.colormaps[_MAP_COLOURS](np.linspace(0, 1, 9))
            ),
            description=model.description,
            training=model.training,
            volumes=list(volumes),
            script=f"{job.folder.as_posix()}/{job.name}_volumes.js",
            assets=ASSETS,
        )
    )
    script = output / job.folder / f"{job.name}_volumes.js"
    files.write_text(script, _volumes_script(volumes, conformed.affine, top))
    files.write_text(report_path(output, job), page)


def copy_viewer(output: Path) -> None:
    """Puts the viewer of all reports into the output folder, where it is missing or cut short.

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


# -- Pictures ----------------------------------------------------------------------------------


def _slices(mask: np.ndarray) -> np.ndarray:
    """Axial slices evenly spread over the cranium: the lowest third holds face and neck."""
    levels = np.flatnonzero(mask.any(axis=(0, 1)))
    low = levels[0] + 0.3 * (levels[-1] - levels[0])
    return np.linspace(low, levels[-1] - 4, _SLICES).round().astype(int)


def _mosaic(volume: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Axial slices side by side, anterior up, the subject's left on the left; enlarged."""
    row = np.concatenate([volume[:, ::-1, z].swapaxes(0, 1) for z in slices], axis=1)
    return row.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)


def _grey(image: np.ndarray, slices: np.ndarray) -> np.ndarray:
    return np.repeat(_mosaic(image, slices)[..., None], 3, axis=-1)


def _overlay(image, variance, top: float, slices) -> np.ndarray:
    """The map over the scan, the more opaque the larger the variance."""
    share = np.clip(_mosaic(variance, slices) / top, 0, 1)
    colours = matplotlib.colormaps[_MAP_COLOURS](share)[..., :3]
    alpha = 0.85 * np.sqrt(share[..., None])
    return (1 - alpha) * _grey(image, slices) + alpha * colours


def _outlined(image, mask, slices) -> np.ndarray:
    row = _mosaic(mask, slices)
    outline = row & ~ndimage.binary_erosion(row)
    picture = _grey(image, slices)
    picture[outline] = matplotlib.colors.to_rgb("tab:orange")
    return picture


def _png(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _strip(name: str, record: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Where a score lies beside those of clean scans, on a logarithmic axis from 0 to 100."""
    score = record["scores"][name]
    reference = known["reference"][name] if known else []
    values = np.log([score, *reference])
    low, high = values.min(), max(values.max(), values.min() + 1e-6)
    positions = 4 + 92 * (values - low) / (high - low)
    return {"name": name, "score": score, "at": positions[0], "reference": positions[1:].tolist()}


# -- Volumes -----------------------------------------------------------------------------------


def _volumes_script(volumes: dict[str, np.ndarray], affine: np.ndarray, top: float) -> str:
    """`QC_JAX_VOLUMES`: by name, base64 of a gzipped NIfTI of 8 bits, and the top of its scale."""
    entries = []
    for name, volume in volumes.items():
        limit = top if name.endswith("variance") else 1.0
        stored = np.rint(255 * np.clip(volume / limit, 0, 1)).astype(np.uint8)
        image = nib.Nifti1Image(stored, affine)
        image.header.set_slope_inter(limit / 255, 0)
        packed = base64.b64encode(gzip.compress(image.to_bytes(), 5)).decode()
        entries.append(f'"{name}": {{"top": {limit:.6g}, "data": "{packed}"}}')
    return "var QC_JAX_VOLUMES = {\n" + ",\n".join(entries) + "\n};\n"
