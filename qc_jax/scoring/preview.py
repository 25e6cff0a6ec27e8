"""Every artefact at growing severity on a scan: what the augmentations do, at a glance."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from qc_jax import augment, files
from qc_jax.augment import Source
from qc_jax.data import formats
from qc_jax.scoring import ownership, pictures
from qc_jax.scoring.answer import severity_in_words
from qc_jax.scoring.conform import conform
from qc_jax.scoring.jobs import plain_jobs
from qc_jax.scoring.scan import prepare
from qc_jax.scoring.scan_report import TITLES, environment

_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way from mild to severe: mild, mild, moderate, severe, severe."""
_EXTENT = (192.0, 224.0, 192.0)
"""mm of the preview along x, y and z."""


class Version(NamedTuple):
    """A scan with an artefact.

    Attributes:
      fraction: of the way from mild (0) to severe (1).
      severity: in the unit of the source.
      picture: `(height, width)`, its middle axial slice in [0, 1], the front above.
    """

    fraction: float
    severity: float
    picture: np.ndarray


def versions(
    image: np.ndarray,
    sources: Sequence[Source],
    key: jax.Array,
    progress: Callable[[str], None] = lambda source: None,
) -> dict[str, list[Version]]:
    """A scan with every artefact at growing severity, by the name of the source.

    Args:
      image: `(X, Y, Z)`, in [0, 1].
      sources: of the artefacts.
      key: of what is random in an artefact.
      progress: called with the name of each source before it is made.
    """
    made = {}
    for source in sources:
        progress(source.name)
        made[source.name] = [
            Version(f, float(source.severity(f)), _slice(augment.corrupt(key, image, source, f)))
            for f in _FRACTIONS
        ]
    return made


def plot_artefacts(
    path: Path, image: np.ndarray, sources: Sequence[Source], made: Mapping[str, list[Version]]
) -> None:
    """Every artefact at growing severity on one scan, an axial slice each.

    Args:
      path: of the PNG.
      image: `(X, Y, Z)`, in [0, 1].
      sources: a row each.
      made: see `versions`.
    """
    figure, axes = plt.subplots(
        len(sources),
        1 + len(_FRACTIONS),
        figsize=(2 * (1 + len(_FRACTIONS)), 2.6 * len(sources)),
        squeeze=False,
        layout="constrained",
    )
    for row, source in zip(axes, sources, strict=True):
        _show(row[0], _slice(image))
        row[0].set_title("clean", fontsize=9)
        for axis, version in zip(row[1:], made[source.name], strict=True):
            _show(axis, version.picture)
            axis.set_title(f"{source.name} {version.severity:.3g}", fontsize=9)
        row[0].set_ylabel(source.unit, fontsize=7)
    figure.suptitle("Artefacts from mild to severe; severity in the unit given on the left")
    figure.savefig(path, dpi=110, metadata={"Software": "qc_jax"})
    plt.close(figure)


def write(
    scan: Path,
    output: Path,
    seed: int,
    voxel_size: float,
    progress: Callable[[str], None] = lambda source: None,
) -> Path:
    """Writes `<name>_preview.png` and `.html`, see `jobs.plain_jobs`; returns the page.

    `progress` is called with the name of each source before it is drawn.

    Raises:
      ScanError: the scan cannot be used.
      OutputError: the folder cannot be written.
    """
    data, affine, _ = prepare(formats.read_scan(scan).image)
    field_of_view = [round(extent / voxel_size) for extent in _EXTENT]
    conformed = conform(data, affine, voxel_size, field_of_view)
    (job,) = plain_jobs([scan])
    picture, page = (output / f"{job.name}_preview.{ending}" for ending in ("png", "html"))
    ownership.check_folder(output)
    ownership.check_files([(picture, "picture"), (page, "report")])
    made = versions(conformed.image, augment.ALL_SOURCES, jax.random.key(seed), progress)
    files.write_whole(
        picture,
        lambda partial: plot_artefacts(partial, conformed.image, augment.ALL_SOURCES, made),
    )
    text = (
        environment()
        .get_template("preview.html")
        .render(
            name=scan.name,
            picture=picture.name,
            clean=_encoded(_slice(conformed.image)),
            shown=[(source, _for_page(made[source.name])) for source in augment.ALL_SOURCES],
            titles=TITLES,
            voxel_size=voxel_size,
        )
    )
    files.write_text(page, text)
    return page


def _for_page(made: Sequence[Version]) -> list[dict[str, str]]:
    """Word, severity and picture of each version."""
    return [
        {
            "word": severity_in_words(version.fraction),
            "severity": f"{version.severity:.3g}",
            "picture": _encoded(version.picture),
        }
        for version in made
    ]


def _encoded(picture: np.ndarray) -> str:
    return pictures.png(np.repeat(picture[..., None], 3, axis=-1))


def _slice(volume: np.ndarray | jax.Array) -> np.ndarray:
    """`(height, width)` of the middle axial slice, the front above, in [0, 1]."""
    return np.clip(np.asarray(volume[:, ::-1, volume.shape[2] // 2]).T, 0.0, 1.0)


def _show(axis, picture: np.ndarray) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.imshow(picture, cmap="gray", vmin=0)
