"""Pictures of what the networks say of scans."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from qc_jax.scoring import Prediction


def plot_predictions(
    path: Path,
    rows: Sequence[tuple[str, np.ndarray, Prediction]],
    variance_names: Sequence[str],
    labels: np.ndarray,
) -> None:
    """Image, segmentation and every variance map of a scan, clean and with each artefact.

    Args:
      path: of the PNG.
      rows: title, image `(X, Y, Z)` and prediction.
      variance_names: of the channels, the task first.
      labels: `(X, Y, Z)`, drawn as the outline on the segmentation.
    """
    columns = 2 + len(variance_names)
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(2.1 * columns, 2.5 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    tops = np.percentile([p.variances for _, _, p in rows], 99.5, axis=(0, 1, 2, 3))
    for row, (title, image, prediction) in zip(axes, rows, strict=True):
        show_slice(row[0], image)
        row[0].set_ylabel(title, fontsize=9)
        show_slice(row[1], prediction.probabilities[..., 1], vmax=1.0)
        row[1].contour(middle_slice(labels), levels=[0.5], colors="tab:orange", linewidths=0.5)
        for channel, axis in enumerate(row[2:]):
            drawn = show_slice(
                axis, prediction.variances[..., channel], vmax=tops[channel], cmap="viridis"
            )
            if axis in axes[-1]:
                bar = figure.colorbar(
                    drawn, ax=axes[:, 2 + channel], location="bottom", shrink=0.9, pad=0.01
                )
                bar.set_label("variance (logits²)", fontsize=8)
    names = [f"{name} variance" for name in variance_names]
    for axis, name in zip(axes[0], ["image", "grey matter (outline: truth)", *names], strict=True):
        axis.set_title(name, fontsize=9)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def show_slice(axis, volume: np.ndarray, vmax: float | None = None, cmap: str = "gray"):
    """The middle axial slice, anterior up."""
    axis.set_xticks([])
    axis.set_yticks([])
    return axis.imshow(middle_slice(volume), cmap=cmap, origin="lower", vmin=0, vmax=vmax)


def middle_slice(volume: np.ndarray) -> np.ndarray:
    """`(X, Y, Z)` to the axial slice `(Y, X)` half way up."""
    return volume[:, :, volume.shape[2] // 2].T
