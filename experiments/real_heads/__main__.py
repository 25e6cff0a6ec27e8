"""`python -m experiments.real_heads`: does a model know what is wrong with real scans?"""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import tyro

from experiments import command
from qc_jax.errors import ConfigError

_VERSIONS = (0, 1000)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Scores clean heads as they are and spoilt in known ways on their own grid; says whether the
    cause, the place, the harm and the volume are told rightly.

    A version of a head takes some seconds.  Kinds of a group take their turns over the heads, so
    that all of them come however few a head has.  Labels are 1 in grey matter, or FreeSurfer's
    numbers.  Called again, it goes on where it stopped.
    """

    scans: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...", help_behavior_hint="")]
    ]
    """NIfTI files of clean heads, or folders of them; NAME_label.nii.gz beside NAME.nii.gz gives
    the Dice as well."""
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    kinds: int = 5
    """Versions of each head with an artefact of a scanner, of which there are 10 kinds."""
    local: int = 2
    """Versions with damage to a part of the head, of which there are 5 kinds."""
    harmless: int = 3
    """Versions after a step of a pipeline that does no harm, of which there are 6 kinds."""
    uncovered: int = 2
    """Versions with damage that no source covers, of which there are 6 kinds."""
    torchio: int = 0
    """Versions by TorchIO, of which there are 40: four transforms at ten severities."""
    seed: int = 1
    """Of everything random."""
    markdown: Path | None = None
    """File for every figure as tables of Markdown."""
    output_dir: Path = Path("runs/real_heads")
    """Folder for real_heads.json and what is said of each version of a head."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    ranges = dict.fromkeys(("kinds", "local", "harmless", "uncovered", "torchio"), _VERSIONS)
    return command.call(run, Arguments, "experiments.real_heads", arguments, **ranges)


def run(arguments: Arguments) -> None:
    """Scores, writes `real_heads.json` and prints one table."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from experiments.real_heads import heads, measuring, plan, summary, tables
    from qc_jax import files
    from qc_jax.data import cache
    from qc_jax.models import load_model

    if arguments.torchio and importlib.util.find_spec("torchio") is None:
        raise ConfigError("torchio is missing: pip install torchio, or use --torchio=0")
    model = load_model(arguments.model or None)
    if not model.calibration:
        raise ConfigError(f"{model.path} has no calibration, so that it names no cause")
    scans = heads.find(arguments.scans)
    cache.use_compilation_cache()
    counts = {name: getattr(arguments, name) for name in plan.GROUPS}
    sources = tuple(model.description.sources)
    plans = [plan.versions_of(index, counts, sources) for index in range(len(scans))]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    folder = arguments.output_dir / "scans"
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        line = progress.add_task("versions", total=sum(map(len, plans)))

        def advance(number: int) -> None:
            progress.advance(line, number)

        rows = list(measuring.rows_of(scans, plans, model, arguments.seed, folder, advance))
    found = summary.summary_of(rows)
    content = {
        "model_sha256": model.sha256,
        "seed": arguments.seed,
        "interval": tables.INTERVAL,
        "summary": found,
        "versions": [dataclasses.asdict(row) for row in rows],
    }
    files.write_json(arguments.output_dir / "real_heads.json", content)
    if arguments.markdown:
        files.write_text(arguments.markdown, tables.markdown(found, rows))
    Console().print(tables.screen(found))
    print(f"every figure: {arguments.output_dir / 'real_heads.json'}")


if __name__ == "__main__":
    sys.exit(main())
