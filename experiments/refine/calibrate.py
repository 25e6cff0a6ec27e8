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
    """The calibration of a model by draws, of which some have to be of label maps.

    Args:
      model: to calibrate.
      draw: the draw of a number.
      heads: who take turns in the draws.
      numbers: of the draws.
      folder: where what the model says of them is kept; that of this model and these draws.
    """
    draws = []
    for number in numbers:
        name = heads[number % len(heads)].name

        def make(number=number, name=name) -> list[dict[str, Any]]:
            return [_plain(scan) for scan in known_scans(model, draw(number), name)]

        found = kept.load_or_make(folder, f"{number:04d}", make)
        draws.append([_known_scan(fields) for fields in found])
    return calibration.fit(with_dice_of_real_scans(draws), model.description.sources)


def with_dice_of_real_scans(draws: Sequence[Sequence[KnownScan]]) -> list[KnownScan]:
    """All scans, those without labels with the Dice coefficient that they should have reached.

    What a spoilt scan reaches of what the clean one does follows what it keeps of its segmentation:
    dice / dice of the clean scan = kept^b.  Learnt from the label maps are b and what a clean scan
    reaches of its expected Dice coefficient; from those of one person alone nothing is.

    Args:
      draws: the scans of each, the clean one first.
    """
    labelled = [scans for scans in draws if np.isfinite(scans[0].dice)]
    if len({scans[0].subject for scans in labelled}) < 2:
        return [scan for scans in draws for scan in scans]
    share = np.median([scans[0].dice / scans[0].expected_dice for scans in labelled])
    spoilt = [(scans[0], scan) for scans in labelled for scan in scans[1:]]
    kept = np.log(np.maximum([scan.kept for _, scan in spoilt], _LEAST))
    reached = np.log(
        np.maximum([scan.dice / max(clean.dice, _LEAST) for clean, scan in spoilt], _LEAST)
    )
    power = kept @ reached / max(kept @ kept, _LEAST)

    def dice_of(clean: KnownScan, scan: KnownScan) -> float:
        known = float(share * clean.expected_dice * scan.kept**power)
        return scan.dice if np.isfinite(scan.dice) else known

    return [
        dataclasses.replace(scan, dice=dice_of(scans[0], scan)) for scans in draws for scan in scans
    ]


_LEAST = 0.05
"""Dice coefficient below which nothing is left to learn from."""


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
