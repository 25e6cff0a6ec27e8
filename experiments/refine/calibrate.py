"""What a model says of acquired scans whose truth is known, to calibrate it with."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import kept
from experiments.acquired import Draw, Head
from qc_jax import scoring
from qc_jax.data import names
from qc_jax.models import Model
from qc_jax.native import OnGrid
from qc_jax.scoring import calibration
from qc_jax.scoring.calibration import MIXED, KnownScan
from qc_jax.scoring.conform import Conformed
from qc_jax.scoring.scan import Measurement, measure


def fit(
    model: Model,
    draw: Callable[[int], Draw],
    heads: Sequence[Head],
    numbers: Iterable[int],
    folder: Path,
) -> dict[str, Any]:
    """The calibration of a model by draws.

    Args:
      model: to calibrate.
      draw: the draw of a number.
      heads: who take turns in the draws.
      numbers: of the draws.
      folder: where what the model says of them is kept; that of this model and these draws.
    """
    scans = []
    for number in numbers:
        name = heads[number % len(heads)].name

        def make(number=number, name=name) -> list[dict[str, Any]]:
            return [_plain(scan) for scan in known_scans(model, draw(number), name)]

        found = kept.load_or_make(folder, f"{number:04d}", make)
        scans += [_known_scan(fields) for fields in found]
    return calibration.fit(scans, model.description.sources)


_ARRAYS = ("scores", "local_scores")


def _plain(scan: KnownScan) -> dict[str, Any]:
    arrays = {name: getattr(scan, name).tolist() for name in _ARRAYS}
    return dataclasses.asdict(scan) | arrays


def _known_scan(fields: dict[str, Any]) -> KnownScan:
    return KnownScan(**(fields | {name: np.array(fields[name]) for name in _ARRAYS}))


def known_scans(model: Model, draw: Draw, head: str) -> Iterator[KnownScan]:
    """Every version of a draw.

    Args:
      model: to score with.
      draw: of scans.
      head: name of who was scanned.
    """
    truth = draw.grey_matter > 127 if draw.grey_matter.any() else None
    clean: Measurement | None = None
    for version, inside in enumerate(np.isfinite(draw.present)):
        found = measure(model, conformed(draw, version, model.description.voxel_size))
        clean = clean or found
        causes = [model.description.sources[i] for i in np.flatnonzero(inside)]
        yield KnownScan(
            subject=names.person_of(head),
            artefact=MIXED if len(causes) > 1 else causes[0] if causes else None,
            fraction=float(np.nanmax(draw.present[version], initial=0.0)),
            scores=found.scores,
            local_scores=found.local_scores,
            expected_dice=found.expected_dice,
            dice=float("nan") if truth is None else scoring.dice(found.grey_matter, truth),
            kept=scoring.dice(found.grey_matter, clean.grey_matter),
            volume=found.volume,
            clean_volume=clean.volume,
            volume_uncertainty=found.volume_uncertainty,
        )


def conformed(draw: Draw, version: int, voxel_size: float) -> Conformed:
    """A version of a draw as the scoring sees it."""
    return Conformed(
        draw.images[version].astype(np.float32),
        draw.masks[version],
        np.diag([voxel_size] * 3 + [1.0]),
        OnGrid(draw.scan[version], draw.axes[version], draw.slices[version].astype(np.float32)),
    )
