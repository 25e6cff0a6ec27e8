"""Which versions of a head are scored.

Every group has a row of versions, each kind in its turn; a head takes the next few of that row, so
that over all heads every kind comes equally often however few a head has.  Severities of a kind
follow the golden ratio: they are spread evenly over their range after any number of heads.
"""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from experiments.evidence.simulator import SEVERITIES
from qc_jax.augment import acquisition
from qc_jax.scoring.answer import CLEAN

HARMLESS = ("shift_linear", "shift_cubic", "conformed", "stripped", "standardised", "clipped")
"""What pipelines do and what is not harmful."""
UNCOVERED = ("bias", "clipped_white", "metal", "zipper", "low_contrast", "inverted")
"""Damage that no source covers."""
LOCAL = ("noise", "blur", "spike", "ghosting", "motion")
"""Kinds of an acquisition that are put into a part of the head."""
TORCHIO = ("blur", "ghosting", "motion", "noise")
"""Transforms of TorchIO, see `evidence.simulator`."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "kinds": tuple(kind.name for kind in acquisition.KINDS),
    "local": LOCAL,
    "harmless": HARMLESS,
    "uncovered": UNCOVERED,
    "torchio": TORCHIO,
}
"""Kinds of each group, in their turn."""
SEVERE = 0.5
"""Local and uncovered damage is drawn from here on, 0 (mild) to 1 (severe)."""
_GOLDEN = 0.6180339887498949


class Version(NamedTuple):
    """A head as it is, or with one change.

    Attributes:
      group: clean, kinds, local, harmless, uncovered or torchio.
      kind: one of the group; empty for clean.
      fraction: of the way from mild to severe, 0 to 1.
      turn: how often this kind came before, over all heads.
    """

    group: str = "clean"
    kind: str = ""
    fraction: float = 0.0
    turn: int = 0

    @property
    def name(self) -> str:
        """Of the file where what is said of it is kept."""
        if self.group == "clean":
            return self.group
        return f"{self.group}-{self.kind}-{self.fraction:.3f}-{self.turn}"

    @property
    def cause(self) -> str:
        """Name of the source that is to blame, or `CLEAN` where none of them is."""
        if self.group in ("kinds", "local"):
            return acquisition.kind_called(self.kind).cause
        return self.kind if self.group == "torchio" else CLEAN


def versions_of(index: int, counts: Mapping[str, int], sources: tuple[str, ...]) -> list[Version]:
    """The clean scan, and the versions of each group for one head.

    Args:
      index: number of the head, from 0 on.
      counts: how many versions a head has, by the name of the group.
      sources: of the model; what is to blame on another one is left out.
    """
    found = [Version()]
    for group, number in counts.items():
        kinds = _kinds(group, sources)
        for position in range(index * number, (index + 1) * number if kinds else 0):
            turn, place = divmod(position, len(kinds))
            found.append(Version(group, kinds[place], _fraction(group, kinds[place], turn), turn))
    return found


def _kinds(group: str, sources: tuple[str, ...]) -> list[str]:
    """Of a group, less those that this model has no source for."""
    return [kind for kind in GROUPS[group] if Version(group, kind).cause in (CLEAN, *sources)]


def _fraction(group: str, kind: str, turn: int) -> float:
    if group == "harmless":
        return 0.0
    if group == "torchio":
        return float(SEVERITIES[turn % len(SEVERITIES)])
    lowest = SEVERE if group in ("local", "uncovered") else 0.0
    start = zlib.crc32(kind.encode()) / 2**32
    return lowest + (1 - lowest) * ((start + turn * _GOLDEN) % 1.0)
