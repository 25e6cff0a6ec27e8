"""`python -m experiments.evidence`: does the method do what it claims, on people unseen?"""

import dataclasses
import importlib.util
import sys
import time
from pathlib import Path

from experiments import command
from qc_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures decoupling, severity, quality and coverage on held-back subjects.

    Called again, it goes on where it stopped.
    """

    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    data: str = ""
    """labels:DIR, or empty for the embedded population (not what the shipped model learnt on)."""
    split: str = ""
    """JSON file that names the subjects; those under test are used. Without it, all are."""
    subjects: int = 6
    """Size of the embedded population."""
    draws: int = 8
    """Contrasts of each subject; each is scanned clean, with each artefact and with a mixture; 0
    for TorchIO's artefacts alone."""
    torchio_draws: int = 1
    """Contrasts of each subject for TorchIO's artefacts at ten severities; 0 leaves them out."""
    seed: int = 1
    """Of everything random."""
    output_dir: Path = Path("runs/evidence")
    """Folder for evidence.json, the figures and the scores of each scan."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.evidence", arguments, draws=(0, 100_000))


def run(arguments: Arguments) -> None:
    """Measures, writes `evidence.json`, prints the tables and draws the figures."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    import qc_jax
    from experiments import build, kept
    from experiments.evidence import figures, measurements, results, simulator, tables
    from qc_jax import augment, data, files
    from qc_jax.data import cache
    from qc_jax.models import load_model

    begun = time.monotonic()
    if arguments.torchio_draws and importlib.util.find_spec("torchio") is None:
        raise ConfigError("torchio is missing: pip install torchio, or use --torchio-draws=0")
    model = load_model(arguments.model or None)
    if not model.calibration:
        raise ConfigError(f"{model.path} has no calibration; the evidence needs one")
    cache.use_compilation_cache()
    description = model.description
    subjects = build.heads_for(description, arguments.data, arguments.subjects, arguments.seed)
    if arguments.split:
        split = data.read_split(Path(arguments.split), [s.name for s in subjects])
        subjects = [s for s in subjects if s.name in split["test"]]
    sources = [s for s in augment.ALL_SOURCES if s.name in description.sources]

    scans = len(subjects) * arguments.draws * (2 + len(sources))
    others = len(subjects) * arguments.torchio_draws * (1 + 10 * len(simulator.CHANNELS))
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # Another version may score otherwise.
    known_by = (qc_jax.__version__, model.sha256, arguments.seed)
    folder = kept.folder_for(arguments.output_dir / "scans", subjects, *known_by)
    evidence = {}
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        line = progress.add_task("scans", total=scans + others)

        def advance(number: int) -> None:
            progress.advance(line, number)

        rows = measurements.simulated(
            model, subjects, sources, arguments.draws, arguments.seed, folder, advance
        )
        if rows:
            evidence = results.all_results(rows, model)
        if arguments.torchio_draws:
            evidence["torchio"] = simulator.torchio_results(
                model, subjects, arguments.torchio_draws, arguments.seed, folder, advance
            )
    evidence["about"] = {
        "model_sha256": model.sha256,
        "subjects": [subject.name for subject in subjects],
        "draws": arguments.draws,
        "seconds": round(time.monotonic() - begun),
    }
    files.write_json(arguments.output_dir / "evidence.json", evidence)
    if rows:
        figures.plot_all(arguments.output_dir, model, rows, evidence, subjects[0], sources)
    for table in tables.all_tables(evidence):
        Console().print(table)
    print(f"evidence: {arguments.output_dir / 'evidence.json'}")


if __name__ == "__main__":
    sys.exit(main())
