"""Figures 3 to 5 of the paper, and the matrix of decoupling."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from polars import col

from experiments import figures
from experiments.evidence.results import Evidence, Matrix, beside_clean
from experiments.trials import Version
from qc_jax.models import Model
from qc_jax.scoring.calibration import MIXED
from qc_jax.scoring.scan import measure


def plot_all(
    folder: Path,
    model: Model,
    trials: pl.DataFrame,
    evidence: Evidence,
) -> None:
    """Writes every figure but that of the maps; of the trials `looking.interpreted`."""
    _matrix(folder / "decoupling.png", evidence["decoupling"])
    _totals(folder / "figure4_totals.png", trials, model.description.sources)
    _volumes(folder / "figure5_volumes.png", trials, model)
    _quality(folder / "quality.png", trials)
    _task_over_noise(folder / "known_limit.png", trials)


def plot_maps(
    folder: Path, model: Model, versions: Iterable[Version], grey_matter: np.ndarray
) -> None:
    """Writes the segmentation and the maps of every version of a scan.

    Args:
      folder: for the picture.
      model: that finds them.
      versions: the clean one first.
      grey_matter: `(X, Y, Z)` bool, the truth.
    """
    predictions = [
        (
            " + ".join(version.fractions) or "clean",
            version.image,
            measure(model, version.conformed).prediction,
        )
        for version in versions
    ]
    names = ["task", *model.description.sources]
    figures.plot_predictions(folder / "figure3_maps.png", predictions, names, grey_matter)


def _matrix(path: Path, matrix: Matrix) -> None:
    artefacts, names = list(matrix), list(next(iter(matrix.values())))
    values = np.array([[matrix[a][n]["value"] for n in names] for a in artefacts])
    figure, axis = plt.subplots(figsize=(1 + 0.9 * len(names), 1 + 0.7 * len(artefacts)))
    drawn = axis.imshow(values, vmin=0, vmax=1, cmap="PuOr")
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(artefacts)), artefacts)
    axis.set_xlabel("variance read out")
    axis.set_ylabel("artefact put in")
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if abs(value - 0.5) > 0.35 else "black"
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(drawn, label="AUC; 0.5: no reaction")
    _save(figure, path)


def _totals(path: Path, trials: pl.DataFrame, sources: Sequence[str]) -> None:
    kinds = [None, *sources, MIXED]
    figure, axes = plt.subplots(1, len(sources), figsize=(2.4 * len(sources), 3.4), sharex=True)
    for axis, source in zip(axes, sources, strict=True):
        values = [_of_kind(trials, kind)[f"score {source}"] for kind in kinds]
        colours = ["C1" if kind == source else "C0" for kind in kinds]
        for position, (points, colour) in enumerate(zip(values, colours, strict=True)):
            jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(points))
            axis.plot(points, position + jitter, ".", color=colour, markersize=3)
        axis.set_xscale("log")
        axis.set_title(f"{source} variance", fontsize=9)
        axis.set_xlabel("score (logits²)", fontsize=8)
        names = [kind or "clean" for kind in kinds] if axis is axes[0] else []
        axis.set_yticks(range(len(kinds)), names)
        axis.invert_yaxis()
    axes[0].set_ylabel("artefact put in")
    _save(figure, path)


def _volumes(path: Path, trials: pl.DataFrame, model: Model) -> None:
    sources = model.description.sources
    scale = model.calibration["volume"]["scale"]
    paired = beside_clean(trials)
    figure, axes = plt.subplots(1, len(sources), figsize=(2.4 * len(sources), 3), sharey=True)
    for axis, source in zip(axes, sources, strict=True):
        chosen = paired.filter(artefact=source).sort(f"fraction {source}")
        severity = chosen[f"fraction {source}"]
        ratio = chosen["volume"] / chosen["volume of clean"]
        bars = scale * chosen["volume_uncertainty"] / chosen["volume of clean"]
        axis.errorbar(severity, ratio, bars, fmt=".", markersize=3, elinewidth=0.6)
        axis.axhline(1.0, color="black", linewidth=0.6)
        axis.set_title(source, fontsize=9)
        axis.set_xlabel("severity, mild to severe", fontsize=8)
    axes[0].set_ylabel("grey-matter volume,\nclean scan = 1", fontsize=8)
    axes[0].set_ylim(0, 2.5)
    figure.suptitle("bars: ±1 sigma after calibration", fontsize=8)
    _save(figure, path)


def _quality(path: Path, trials: pl.DataFrame) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    total = pl.sum_horizontal(pl.selectors.starts_with("score ")).alias("total")
    for kind in trials["artefact"].unique(maintain_order=True):
        chosen = _of_kind(trials, kind).with_columns(total)
        axes[0].plot(
            chosen["predicted_dice"], chosen["dice"], ".", markersize=4, label=kind or "clean"
        )
        axes[1].plot(chosen["total"], chosen["dice"], ".", markersize=4)
    axes[0].plot([0, 1], [0, 1], color="black", linewidth=0.6)
    axes[0].set_xlabel("Dice predicted")
    axes[0].set_ylabel("Dice of grey matter reached")
    axes[0].legend(fontsize=7)
    axes[1].set_xscale("log")
    axes[1].set_xlabel("sum of the scores (logits²)")
    _save(figure, path)


def _task_over_noise(path: Path, trials: pl.DataFrame) -> None:
    noisy = trials.filter(artefact="noise")
    figure, axis = plt.subplots(figsize=(5, 3.4))
    axis.plot(30 - 40 * noisy["fraction noise"], noisy["score task"], ".")
    axis.invert_xaxis()
    axis.set_xlabel("SNR of the scan in dB")
    axis.set_ylabel("score of the task (logits²)")
    _save(figure, path)


def _of_kind(trials: pl.DataFrame, kind: str | None) -> pl.DataFrame:
    """Those with this artefact, or, of None, the clean ones."""
    return trials.filter(col("artefact").eq_missing(pl.lit(kind)))


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
