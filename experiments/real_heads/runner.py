"""Real heads from beginning to end: versions, scores, figures, tables."""

import dataclasses
import functools
import importlib.util
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.real_heads import heads, measuring, plan, summary, tables
from qc_jax import files
from qc_jax.data import cache
from qc_jax.errors import ConfigError
from qc_jax.models import load_model

if TYPE_CHECKING:
    from experiments.real_heads.__main__ import Arguments


def run(arguments: "Arguments") -> None:
    """Scores, writes `real_heads.json` and prints one table."""
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
        advance = functools.partial(progress.advance, line)
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
