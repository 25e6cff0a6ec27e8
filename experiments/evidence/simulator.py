"""The same weights on artefacts of another simulator: TorchIO, at ten severities."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from polars import col

from experiments import trials
from experiments.evidence.intervals import spearman, youden
from experiments.evidence.results import AtSeverity, OfTorchIO, over_subjects
from experiments.trials import Version
from qc_jax import data
from qc_jax.models import Model
from qc_jax.scoring.scan import on_grid

SEVERITIES = np.linspace(0.1, 1.0, 10)
ARTEFACTS = ("blur", "ghosting", "motion", "noise", "spike")
"""TorchIO's, each with the name of the source that has to answer."""


def number_of_versions(model: Model) -> int:
    """Of a scan: clean, and with each artefact that the model has a source for, by severity."""
    return 1 + len(_known(model)) * len(SEVERITIES)


def torchio_results(
    model: Model,
    subjects: Sequence[data.Subject],
    draws: int,
    seed: int,
    folder: Path,
    advance: Callable[[int], None],
) -> dict[str, OfTorchIO]:
    """Youden's index of the own source's score at each severity, and its rank correlation.

    The trials are kept in a folder, see `kept.folder_for`.
    """
    sources = _known(model)

    def versions(subject: data.Subject, draw: int) -> Iterator[Version]:
        return torchio_versions(subject, draw, sources, seed, model.description.voxel_size)

    rows = trials.simulated(model, subjects, draws, versions, folder / "torchio", advance)
    return of_table(trials.table(rows, ("task", *model.description.sources)), sources)


def of_table(table: pl.DataFrame, sources: Sequence[str]) -> dict[str, OfTorchIO]:
    """The figures of each artefact, from the table of the trials."""
    results: dict[str, OfTorchIO] = {}
    for source in sources:
        spoilt = table.filter(artefact=source)
        results[source] = {
            "spearman": over_subjects(
                spoilt, spearman, col(f"fraction {source}"), col(f"score {source}")
            ),
            "youden": [_at(table, source, severity) for severity in SEVERITIES.tolist()],
        }
    return results


def _at(table: pl.DataFrame, source: str, severity: float) -> AtSeverity:
    clean, fraction = col("artefact").is_null(), col(f"fraction {source}")
    chosen = table.filter(clean | ((col("artefact") == source) & (fraction == severity)))
    return {"severity": severity, **over_subjects(chosen, youden, ~clean, col(f"score {source}"))}


def torchio_versions(
    subject: data.Subject, draw: int, artefacts: Sequence[str], seed: int, voxel_size: float
) -> Iterator[Version]:
    """A scan of a head, and with each artefact at each of the severities.

    Args:
      subject: the head.
      draw: which scan of it.
      artefacts: some of `ARTEFACTS`.
      seed: of everything random.
      voxel_size: edge in mm.
    """
    from experiments.evidence import torchio_artefacts  # which needs what nothing else does

    clean = subject.draw(trials.randomness_of(subject.name, draw, seed)[1])
    yield Version(None, {}, clean, on_grid(clean, voxel_size))
    for artefact in artefacts:
        text = f"{seed} torchio-{subject.name}-{draw} {artefact}"
        torchio_artefacts.seed_with(zlib.crc32(text.encode()))
        for severity in SEVERITIES.tolist():
            bad = torchio_artefacts.spoilt(clean, artefact, severity)
            image = (bad / bad.max()).astype(np.float32)
            yield Version(artefact, {artefact: severity}, image, on_grid(image, voxel_size))


def _known(model: Model) -> list[str]:
    return [artefact for artefact in ARTEFACTS if artefact in model.description.sources]
