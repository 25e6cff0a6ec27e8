"""What is made of each scan: which maps are written, and by which rule it is to be kept."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypedDict, get_args

from qc_jax.errors import ConfigError
from qc_jax.scoring.decision import Rule

Maps = Literal["none", "cause", "all"]
PROBABILITY, SEGMENTATION, ENTROPY = "probability", "segmentation", "entropy"
"""Maps beside the variances."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a call asks for.

    Attributes:
      sources: those whose maps are written; none for all that the model knows.
      rule: see `decision.decide`.
      maps: none; the segmentation and the variance of the named cause; or all.
    """

    sources: tuple[str, ...] = ()
    rule: Rule = dataclasses.field(default_factory=Rule)
    maps: Maps = "all"

    def __post_init__(self) -> None:
        """Raises ConfigError for maps of no such kind."""
        if self.maps not in get_args(Maps):
            raise ConfigError(f"--maps {self.maps}: {', '.join(get_args(Maps))} are meant")

    @property
    def possible_maps(self) -> tuple[str, ...]:
        """What may be written of a scan, whatever is found."""
        if self.maps == "none":
            return ()
        if self.maps == "cause":
            return (SEGMENTATION, *map(variance_of, self.sources))
        names = ("task", *self.sources, "total")
        return (PROBABILITY, SEGMENTATION, *map(variance_of, names), ENTROPY)

    def maps_of(self, named_causes: Sequence[str]) -> tuple[str, ...]:
        """What is written of a scan of which these causes are named."""
        if self.maps != "cause":
            return self.possible_maps
        named = [name for name in self.sources if name in named_causes]
        return (SEGMENTATION, *map(variance_of, named))


def variance_of(name: str) -> str:
    """What the map of a variance is called in a record."""
    return f"{name} variance"


class Thresholds(TypedDict):
    """A `Rule` in JSON."""

    keep_dice: float
    drop_dice: float
    volume_error: float


class WantedFields(TypedDict):
    """A `Wanted` in JSON."""

    sources: list[str]
    rule: Thresholds
    maps: Maps


def from_json(fields: WantedFields) -> Wanted:
    """From `dataclasses.asdict` of it, through JSON."""
    return Wanted(tuple(fields["sources"]), Rule(**fields["rule"]), fields["maps"])
