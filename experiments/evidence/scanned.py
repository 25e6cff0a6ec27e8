"""Held-back heads as a scanner makes them: artefacts in the k-space of a grid of their own."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from experiments import acquired, trials
from experiments.acquired import Draw, Head
from experiments.evidence import looking
from experiments.refine.calibrate import rows_of_draw
from experiments.trials import Row
from qc_jax.errors import ConfigError
from qc_jax.models import Model


def heads_of(labels: str, split: str) -> list[Head]:
    """The label maps under test.

    Args:
      labels: `labels:DIR`.
      split: JSON file that names the subjects.

    Raises:
      ConfigError: there are no label maps, or no split.
    """
    kind, _, folder = labels.partition(":")
    if kind != "labels" or not split:
        raise ConfigError(
            "--scanned needs --data=labels:DIR and --split, whose test heads it takes"
        )
    return acquired.groups(Path(folder), Path(split), ())["test"]


def draw_of(model: Model, head: Head, draw: int, seed: int) -> Draw:
    """All versions of a scan of a head, the clean one first."""
    return acquired.draw(trials.generator_of(head.name, draw, seed), head, model.description)


def simulated(
    model: Model,
    heads: Sequence[Head],
    draws: int,
    seed: int,
    folder: Path,
    advance: Callable[[int], None],
) -> list[Row]:
    """The trials of all scans of all heads, as `trials.simulated`."""
    names = ("task", *model.description.sources)

    def make(head: Head, draw: int) -> Iterator[Row]:
        drawn = draw_of(model, head, draw, seed)
        look = functools.partial(looking.look_at_maps, names, drawn.grey_matter > 127)
        return rows_of_draw(model, drawn, head.name, draw, look)

    scans = (
        (f"{head.name}-{draw}", functools.partial(make, head, draw))
        for head in heads
        for draw in range(draws)
    )
    return trials.of_scans(folder, scans, advance)
