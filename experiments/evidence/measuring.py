"""The evidence from beginning to end: trials, figures, tables and pictures."""

import functools
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import qc_jax
from experiments import build, kept, trials
from experiments.evidence import figures, looking, results, scanned, simulator, tables
from experiments.evidence.results import Evidence
from experiments.refine.calibrate import versions_of
from experiments.trials import Row, Version
from qc_jax import augment, data, files
from qc_jax.augment import Source
from qc_jax.data import cache
from qc_jax.errors import ConfigError
from qc_jax.models import Model, load_model

if TYPE_CHECKING:
    from experiments.evidence.__main__ import Arguments


def run(arguments: "Arguments") -> None:
    """Measures, writes `evidence.json`, prints the tables and draws the figures."""
    begun = time.monotonic()
    if (
        arguments.torchio_draws
        and not arguments.scanned
        and importlib.util.find_spec("torchio") is None
    ):
        raise ConfigError("torchio is missing: pip install torchio, or use --torchio-draws=0")
    model = load_model(arguments.model or None)
    if not model.calibration:
        raise ConfigError(f"{model.path} has no calibration; the evidence needs one")
    cache.use_compilation_cache()
    of_scans = of_scanned_heads if arguments.scanned else of_simulated_heads
    table, evidence = of_scans(arguments, model)
    evidence["about"] = {
        "model_sha256": model.sha256,
        "subjects": [] if table is None else table["subject"].unique(maintain_order=True).to_list(),
        "draws": arguments.draws,
        "scanned": arguments.scanned,
        "seconds": round(time.monotonic() - begun),
    }
    files.write_json(arguments.output_dir / "evidence.json", evidence)
    if table is not None:
        figures.plot_all(arguments.output_dir, model, table, evidence)
    for shown in tables.all_tables(evidence):
        Console().print(shown)
    print(f"evidence: {arguments.output_dir / 'evidence.json'}")


def of_scanned_heads(arguments: "Arguments", model: Model) -> tuple[pl.DataFrame | None, Evidence]:
    """The table of the trials, None without any, and its figures; draws the maps of one scan."""
    heads = scanned.heads_of(arguments.data, arguments.split)
    known_by = (qc_jax.__version__, model.sha256, arguments.seed, [head.name for head in heads])
    folder = kept.folder_for(arguments.output_dir / "scanned", (), *known_by)
    of_a_scan = 2 + len(model.description.sources)
    with _progress() as progress:
        line = progress.add_task("scans", total=len(heads) * arguments.draws * of_a_scan)
        advance = functools.partial(progress.advance, line)
        rows = scanned.simulated(model, heads, arguments.draws, arguments.seed, folder, advance)
    if not rows:
        return None, {}
    drawn = scanned.draw_of(model, heads[0], 0, arguments.seed)
    versions = versions_of(drawn, model.description.sources, model.description.voxel_size)
    figures.plot_maps(arguments.output_dir, model, versions, drawn.grey_matter > 127)
    table = looking.interpreted(rows, model)
    return table, results.all_results(table, model)


def of_simulated_heads(
    arguments: "Arguments", model: Model
) -> tuple[pl.DataFrame | None, Evidence]:
    """The same of artefacts on the grid of the network."""
    subjects = subjects_of(arguments, model)
    sources = [s for s in augment.ALL_SOURCES if s.name in model.description.sources]
    table, evidence = measured(arguments, model, subjects, sources)
    if table is not None:
        clean = subjects[0].draw(jax.random.key(0))
        drawn = trials.simulated_versions(
            jax.random.key(0),
            np.random.default_rng(0),
            clean,
            sources,
            0,
            1,
            model.description.voxel_size,
        )
        figures.plot_maps(arguments.output_dir, model, drawn, subjects[0].labels == 1)
    return table, evidence


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def subjects_of(arguments: "Arguments", model: Model) -> list[data.Subject]:
    """The heads to measure on: those under test, where a split is given."""
    subjects = build.heads_for(
        model.description, arguments.data, arguments.subjects, arguments.seed
    )
    if not arguments.split:
        return subjects
    split = data.read_split(Path(arguments.split), [subject.name for subject in subjects])
    return [subject for subject in subjects if subject.name in split["test"]]


def measured(
    arguments: "Arguments",
    model: Model,
    subjects: Sequence[data.Subject],
    sources: Sequence[Source],
) -> tuple[pl.DataFrame | None, Evidence]:
    """The table of the simulated trials, None without any, and the figures of all trials."""
    # Another version may score otherwise.
    known_by = (qc_jax.__version__, model.sha256, arguments.seed)
    folder = kept.folder_for(arguments.output_dir / "trials", subjects, *known_by)
    of_a_scan = arguments.draws * trials.number_of_versions(sources)
    others = arguments.torchio_draws * simulator.number_of_versions(model)
    table: pl.DataFrame | None = None
    evidence: Evidence = {}
    with _progress() as progress:
        line = progress.add_task("scans", total=len(subjects) * (of_a_scan + others))
        advance = functools.partial(progress.advance, line)
        rows = simulated(model, subjects, sources, arguments.draws, arguments.seed, folder, advance)
        if rows:
            table = looking.interpreted(rows, model)
            evidence = results.all_results(table, model)
        if arguments.torchio_draws:
            evidence["torchio"] = simulator.torchio_results(
                model, subjects, arguments.torchio_draws, arguments.seed, folder, advance
            )
    return table, evidence


def simulated(
    model: Model,
    subjects: Sequence[data.Subject],
    sources: Sequence[Source],
    draws: int,
    seed: int,
    folder: Path,
    advance: Callable[[int], None],
) -> list[Row]:
    """Each subject and contrast: clean, with each artefact, and with a mixture, see `trials`."""

    def versions(subject: data.Subject, draw: int) -> Iterator[Version]:
        rng, key = trials.randomness_of(subject.name, draw, seed)
        clean, voxel_size = subject.draw(key), model.description.voxel_size
        return trials.simulated_versions(key, rng, clean, sources, draw, draws, voxel_size)

    look = functools.partial(looking.look, ("task", *model.description.sources))
    return trials.simulated(model, subjects, draws, versions, folder, advance, look)
