"""Every artefact at growing severity on a scan: what the augmentations do, at a glance."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from qc_jax import augment, files
from qc_jax.augment import Source
from qc_jax.data import formats
from qc_jax.scoring import ownership
from qc_jax.scoring.conform import conform
from qc_jax.scoring.jobs import plain_jobs
from qc_jax.scoring.scan import prepare
from qc_jax.scoring.scan_report import TITLES, environment

_EXTENT = (192.0, 224.0, 192.0)
"""mm of the preview along x, y and z."""


def plot_artefacts(
    path: Path,
    image: np.ndarray,
    sources: Sequence[Source],
    key: jax.Array,
    progress: Callable[[str], None] = lambda source: None,
) -> None:
    """Every artefact at growing severity on one scan, an axial slice each.

    Args:
      path: of the PNG.
      image: `(X, Y, Z)`, in [0, 1].
      sources: a row each.
      key: of what is random in an artefact.
      progress: called with the name of each source before it is drawn.
    """
    fractions = (0.0, 0.25, 0.5, 0.75, 1.0)
    figure, axes = plt.subplots(
        len(sources),
        1 + len(fractions),
        figsize=(2 * (1 + len(fractions)), 2.6 * len(sources)),
        squeeze=False,
        layout="constrained",
    )
    for row, source in zip(axes, sources, strict=True):
        progress(source.name)
        _show(row[0], image)
        row[0].set_title("clean", fontsize=9)
        for axis, fraction in zip(row[1:], fractions, strict=True):
            _show(axis, np.asarray(augment.corrupt(key, image, source, fraction)))
            axis.set_title(f"{source.name} {source.severity(fraction):.3g}", fontsize=9)
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
    files.write_whole(
        picture,
        lambda partial: plot_artefacts(
            partial, conformed.image, augment.ALL_SOURCES, jax.random.key(seed), progress
        ),
    )
    text = (
        environment()
        .get_template("preview.html")
        .render(
            name=scan.name,
            picture=picture.name,
            sources=augment.ALL_SOURCES,
            titles=TITLES,
            voxel_size=voxel_size,
        )
    )
    files.write_text(page, text)
    return page


def _show(axis, volume: np.ndarray) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.imshow(volume[:, :, volume.shape[2] // 2].T, cmap="gray", origin="lower", vmin=0)
