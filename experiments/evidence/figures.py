"""Figures 3 to 5 of the paper, and the matrix of decoupling."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments import figures
from experiments.evidence.measurements import Row
from qc_jax import augment, data
from qc_jax.augment import Source
from qc_jax.models import Model
from qc_jax.scoring.calibration import MIXED
from qc_jax.scoring.scan import measure, on_grid


def plot_all(
    folder: Path,
    model: Model,
    rows: Sequence[Row],
    evidence: dict[str, Any],
    subject: data.Subject,
    sources: Sequence[Source],
) -> None:
    """Writes every figure."""
    _maps(folder / "figure3_maps.png", model, subject, sources)
    _matrix(folder / "decoupling.png", evidence["decoupling"])
    _totals(folder / "figure4_totals.png", rows, model.description.sources)
    _volumes(folder / "figure5_volumes.png", rows, model)
    _quality(folder / "quality.png", rows)
    _task_over_noise(folder / "known_limit.png", rows)


def _maps(path: Path, model: Model, subject: data.Subject, sources: Sequence[Source]) -> None:
    voxel_size = model.description.voxel_size
    clean = subject.draw(jax.random.key(0))
    images = {"clean": clean}
    for source in sources:
        images[source.name] = np.asarray(augment.corrupt(jax.random.key(0), clean, source, 0.75))
    severities = [s.severity(0.5) if i % 2 else s.none for i, s in enumerate(sources)]
    mixed = augment.apply_sources(jax.random.key(1), clean, sources, jax.numpy.array(severities))
    images[" + ".join(s.name for s in sources[1::2])] = np.asarray(mixed)
    predictions = [
        (title, image, measure(model, on_grid(image, voxel_size)).prediction)
        for title, image in images.items()
    ]
    names = ["task", *model.description.sources]
    figures.plot_predictions(path, predictions, names, subject.labels)


def _matrix(path: Path, matrix: dict[str, Any]) -> None:
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


def _totals(path: Path, rows: Sequence[Row], sources: Sequence[str]) -> None:
    kinds = [None, *sources, MIXED]
    figure, axes = plt.subplots(1, len(sources), figsize=(2.4 * len(sources), 3.4), sharex=True)
    for channel, (axis, source) in enumerate(zip(axes, sources, strict=True), 1):
        values = [[r.scores[channel] for r in rows if r.artefact == kind] for kind in kinds]
        colours = ["C1" if kind == source else "C0" for kind in kinds]
        for position, (points, colour) in enumerate(zip(values, colours, strict=True)):
            jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(points))
            axis.plot(points, position + jitter, ".", color=colour, markersize=3)
        axis.set_xscale("log")
        axis.set_title(f"{source} variance", fontsize=9)
        axis.set_xlabel("score (logits²)", fontsize=8)
        axis.set_yticks(
            range(len(kinds)), [kind or "clean" for kind in kinds] if channel == 1 else []
        )
        axis.invert_yaxis()
    axes[0].set_ylabel("artefact put in")
    _save(figure, path)


def _volumes(path: Path, rows: Sequence[Row], model: Model) -> None:
    sources = model.description.sources
    scale = model.calibration["volume"]["scale"]
    clean = {(row.subject, row.draw): row.volume for row in rows if row.artefact is None}
    figure, axes = plt.subplots(1, len(sources), figsize=(2.4 * len(sources), 3), sharey=True)
    for axis, source in zip(axes, sources, strict=True):
        chosen = sorted(
            (row for row in rows if row.artefact == source), key=lambda row: row.fractions[source]
        )
        severity = [row.fractions[source] for row in chosen]
        ratio = [row.volume / clean[row.subject, row.draw] for row in chosen]
        bars = [scale * r.volume_uncertainty / clean[r.subject, r.draw] for r in chosen]
        axis.errorbar(severity, ratio, bars, fmt=".", markersize=3, elinewidth=0.6)
        axis.axhline(1.0, color="black", linewidth=0.6)
        axis.set_title(source, fontsize=9)
        axis.set_xlabel("severity, mild to severe", fontsize=8)
    axes[0].set_ylabel("grey-matter volume,\nclean scan = 1", fontsize=8)
    axes[0].set_ylim(0, 2.5)
    figure.suptitle("bars: ±1 sigma after calibration", fontsize=8)
    _save(figure, path)


def _quality(path: Path, rows: Sequence[Row]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    for kind in dict.fromkeys(row.artefact for row in rows):
        chosen = [row for row in rows if row.artefact == kind]
        reached = [row.dice for row in chosen]
        predicted = [row.predicted_dice for row in chosen]
        axes[0].plot(predicted, reached, ".", markersize=4, label=kind or "clean")
        axes[1].plot([row.scores.sum() for row in chosen], reached, ".", markersize=4)
    axes[0].plot([0, 1], [0, 1], color="black", linewidth=0.6)
    axes[0].set_xlabel("Dice predicted")
    axes[0].set_ylabel("Dice of grey matter reached")
    axes[0].legend(fontsize=7)
    axes[1].set_xscale("log")
    axes[1].set_xlabel("sum of the scores (logits²)")
    _save(figure, path)


def _task_over_noise(path: Path, rows: Sequence[Row]) -> None:
    chosen = [row for row in rows if row.artefact == "noise"]
    figure, axis = plt.subplots(figsize=(5, 3.4))
    axis.plot([30 - 40 * r.fractions["noise"] for r in chosen], [r.scores[0] for r in chosen], ".")
    axis.invert_xaxis()
    axis.set_xlabel("SNR of the scan in dB")
    axis.set_ylabel("score of the task (logits²)")
    _save(figure, path)


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
