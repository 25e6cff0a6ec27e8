"""What is made of each scan: whose maps are written, and by which rule it is to be kept."""

import dataclasses
from typing import Any

from qc_jax.scoring.decision import Rule


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a call asks for.

    Attributes:
      sources: those whose maps are written; none for all that the model knows.
      rule: see `decision.decide`.
    """

    sources: tuple[str, ...] = ()
    rule: Rule = dataclasses.field(default_factory=Rule)


def from_json(fields: dict[str, Any]) -> Wanted:
    """From `dataclasses.asdict` of it, through JSON."""
    return Wanted(tuple(fields["sources"]), Rule(**fields["rule"]))
