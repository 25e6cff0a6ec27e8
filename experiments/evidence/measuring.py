"""The evidence from beginning to end: trials, figures, tables and pictures."""

import functools
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import qc_jax
from experiments import build, kept, trials
from experiments.evidence import figures, looking, results, simulator, tables
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
    if arguments.torchio_draws and importlib.util.find_spec("torchio") is None:
        raise ConfigError("torchio is missing: pip install torchio, or use --torchio-draws=0")
    model = load_model(arguments.model or None)
    if not model.calibration:
        raise ConfigError(f"{model.path} has no calibration; the evidence needs one")
    cache.use_compilation_cache()
    subjects = subjects_of(arguments, model)
    sources = [s for s in augment.ALL_SOURCES if s.name in model.description.sources]
    table, evidence = measured(arguments, model, subjects, sources)
    evidence["about"] = {
        "model_sha256": model.sha256,
        "subjects": [subject.name for subject in subjects],
        "draws": arguments.draws,
        "seconds": round(time.monotonic() - begun),
    }
    files.write_json(arguments.output_dir / "evidence.json", evidence)
    if table is not None:
        figures.plot_all(arguments.output_dir, model, table, evidence, subjects[0], sources)
    for shown in tables.all_tables(evidence):
        Console().print(shown)
    print(f"evidence: {arguments.output_dir / 'evidence.json'}")


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
) -> tuple[pl.DataFrame | None, dict[str, Any]]:
    """The table of the simulated trials, None without any, and the figures of all trials."""
    # Another version may score otherwise.
    known_by = (qc_jax.__version__, model.sha256, arguments.seed)
    folder = kept.folder_for(arguments.output_dir / "trials", subjects, *known_by)
    of_a_scan = arguments.draws * trials.number_of_versions(sources)
    others = arguments.torchio_draws * simulator.number_of_versions(model)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    table, evidence = None, {}
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
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
