"""What an artefact is to the rest of the library: a function, a range, and words for people."""

import dataclasses
from collections.abc import Callable

import jax

from qc_jax.arrays import Key, KSpace, Number


@dataclasses.dataclass(frozen=True)
class Source:
    """An artefact that can be drawn and attributed: all that the rest of the library asks for.

    Attributes:
      name: short, lower case; names files, metrics and variance channels, see `check_name`.
      apply: `(key, k_space, severity) -> k_space`, pure.
      mild, severe: ends of the range of severities, in `unit`.
      none: the severity at which `apply` is the identity.
      unit: what a severity counts.
      looks: how it shows in an image, in a sentence, for the reports.
    """

    name: str
    apply: Callable[[Key, KSpace, jax.Array], KSpace]
    mild: float
    severe: float
    none: float
    unit: str
    looks: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)

    def severity(self, fraction: Number) -> Number:
        """The severity at `fraction` of the way from mild (0) to severe (1)."""
        return self.mild + fraction * (self.severe - self.mild)


_RESERVED = ("task", "none", "mixture")
"""What is said beside the sources, of the anatomy itself, of no artefact and of several."""


def check_name(name: str) -> None:
    """Raises ValueError for what cannot name a source: a letter, then letters, digits and _ are
    needed, so that it is safe as the name of a file and in a page, and stands for nothing else."""
    identifier = isinstance(name, str) and name.isidentifier() and name.isascii()
    if not identifier or name.startswith("_") or len(name) > 64 or name in _RESERVED:
        raise ValueError(
            f"{name!r} cannot name a source: take a letter, then letters, digits and _, and not "
            f"{' or '.join(_RESERVED)}"
        )
