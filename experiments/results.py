"""What a trained network of a run reaches: measured, added to the summary, calibrated, drawn."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments import build, evaluate, figures, run_folder, weights
from experiments.build import Stage
from experiments.presets import Config
from experiments.signals import Stop
from qc_jax import augment, data, files
from qc_jax.models import Model
from qc_jax.scoring import preview, scan
from qc_jax.scoring.calibration import KnownScan


def of_stage(summary: dict[str, Any], stage: Stage) -> dict[str, Any]:
    """What a summary holds of a stage, empty where it was not evaluated."""
    if stage.group != "teachers":
        return summary.get(stage.group, {})
    (source,) = stage.sources
    return summary.get("teachers", {}).get(source.name, {})


def evaluate_stage(
    config: Config,
    folder: Path,
    stage: Stage,
    params: Any,
    subjects: Sequence[data.Subject],
    console: Console,
    stop: Stop,
) -> None:
    """Measures one network, adds it to the summary and draws its pictures.

    Args:
      config: of the run.
      folder: of the run.
      stage: whose network it is.
      params: of the network.
      subjects: to measure it on.
      console: for the progress line.
      stop: asked after every scan.
    """
    begun = time.monotonic()
    model = build.model_of(config, folder / "student.safetensors", params, stage.sources)
    with console.status(f"{stage.name}: scoring {len(subjects)} validation subjects"):
        # The student's scores are calibrated, which has to be done as it will score.
        overlap = scan.OVERLAP if stage.group == "student" else config.overlap
        scored = evaluate.score_scans(
            model,
            subjects,
            stage.sources,
            config.evaluation_draws,
            config.seed,
            overlap,
            stop.check,
        )
    summary = run_folder.read_summary(folder)
    if stage.group == "teachers":
        (source,) = stage.sources
        summary.setdefault("teachers", {})[source.name] = figures_of(stage, scored)
    else:
        summary[stage.group] = figures_of(stage, scored)
    if stage.group == "student":
        weights.write(config, model, scored)
    files.write_json(folder / "summary.json", summary)
    draw(config, folder / "figures", stage, model, subjects[0])
    console.print(f"{stage.name} evaluated in {time.monotonic() - begun:.0f} s")


def figures_of(stage: Stage, scored: Sequence[KnownScan]) -> dict[str, Any]:
    """Dice; of a teacher and the student how well each variance tells the artefacts apart."""
    found: dict[str, Any] = {"dice": evaluate.mean_dice(scored)}
    sources = [source.name for source in stage.sources]
    if stage.group == "teachers":
        (source,) = sources
        found["auc"] = evaluate.auc(scored, source, 1)
        found["severity_spearman"] = evaluate.severity_spearman(scored, source, 1)
    elif stage.group == "student":
        found["auc"] = {
            artefact: {
                name: evaluate.auc(scored, artefact, channel)
                for channel, name in enumerate(["task", *sources])
            }
            for artefact in sources
        }
        found["severity_spearman"] = {
            source: evaluate.severity_spearman(scored, source, channel)
            for channel, source in enumerate(sources, 1)
        }
    return found


def draw(config: Config, folder: Path, stage: Stage, model: Model, subject: data.Subject) -> None:
    """What the network says of a scan, clean and with each artefact; of the task the artefacts."""
    folder.mkdir(exist_ok=True)
    _, clean, labels = next(data.clean_scans([subject], config.seed))
    key = jax.random.key(config.seed)
    if stage.group == "task":
        sources = build.chosen_sources(config)
        made = preview.versions(clean, sources, key)
        preview.plot_artefacts(folder / "artefacts.png", clean, sources, made)
    images = {"clean": clean}
    for source in stage.sources:
        images[source.name] = np.asarray(augment.corrupt(key, clean, source, 0.75))
    rows = [
        (title, image, scan.measure(model, scan.on_grid(image, config.heads.voxel_size)).prediction)
        for title, image in images.items()
    ]
    names = ["task", *(source.name for source in stage.sources)]
    path = folder / f"{stage.name.replace('/', '_')}.png"
    figures.plot_predictions(path, rows, names, labels)
