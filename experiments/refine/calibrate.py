"""What a model says of acquired scans whose truth is known, to calibrate it with."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments import trials
from experiments.acquired import Draw, Head
from experiments.trials import Row, Version
from qc_jax.data import names
from qc_jax.descriptions import Calibration
from qc_jax.models import Model
from qc_jax.native import OnGrid
from qc_jax.scoring import calibration
from qc_jax.scoring.calibration import MIXED, KnownScan
from qc_jax.scoring.conform import Conformed
from qc_jax.scoring.scan import Measurement


def fit(
    model: Model,
    draw: Callable[[int], Draw],
    heads: Sequence[Head],
    numbers: Iterable[int],
    folder: Path,
) -> Calibration:
    """The calibration of a model by draws, of which some have to be of label maps.

    Args:
      model: to calibrate.
      draw: the draw of a number.
      heads: who take turns in the draws.
      numbers: of the draws.
      folder: where the trials are kept; that of this model and these draws.
    """
    draws = []
    for number in numbers:
        name = heads[number % len(heads)].name

        def make(number: int = number, name: str = name) -> Iterator[Row]:
            return rows_of_draw(model, draw(number), name, number)

        rows = trials.load_or_make(folder, f"{number:04d}", Row, make)
        draws.append([trials.known_scan(row) for row in rows])
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


def rows_of_draw(
    model: Model,
    draw: Draw,
    head: str,
    number: int = 0,
    look: Callable[[Version, Measurement], dict[str, float]] = trials.look_at_nothing,
) -> Iterator[Row]:
    """The trials of every version of a draw.

    Args:
      model: to score with.
      draw: of scans.
      head: name of who was scanned.
      number: of the draw.
      look: what else is read from a version and its maps.
    """
    truth = draw.grey_matter > 127 if draw.grey_matter.any() else None
    versions = versions_of(draw, model.description.sources, model.description.voxel_size)
    return trials.rows_of(model, names.person_of(head), number, versions, truth, look)


def versions_of(draw: Draw, sources: Sequence[str], voxel_size: float) -> Iterator[Version]:
    """The versions of a draw, the clean one first."""
    for version, present in enumerate(draw.present):
        known = zip(sources, present.tolist(), strict=True)
        inside = {source: fraction for source, fraction in known if np.isfinite(fraction)}
        artefact = MIXED if len(inside) > 1 else next(iter(inside), None)
        seen = conformed(draw, version, voxel_size)
        yield Version(artefact, inside, seen.image, seen)


def conformed(draw: Draw, version: int, voxel_size: float) -> Conformed:
    """A version of a draw as the scoring sees it."""
    return Conformed(
        draw.images[version].astype(np.float32),
        draw.masks[version],
        np.diag([voxel_size] * 3 + [1.0]),
        OnGrid(draw.scan[version], draw.axes[version], draw.slices[version].astype(np.float32)),
    )
