"""How a training of so many minutes is shared out over its stages.

The program of a group of stages is compiled and timed, and only then does it get its number of
steps: its share of the seconds that are left, once what the later programs will take to compile is
put aside.
"""

import time
from collections.abc import Callable, Mapping

SHARES: Mapping[str, float] = {"task": 0.15, "teachers": 0.2, "student": 0.65}
"""Of the seconds in which steps are taken, in the order in which the groups are trained."""
SOURCE_HEAD = 0.25
"""Share of all the time for the source head after them, where there is one."""
KEPT_BACK = 0.04
"""Share of all the time in which checkpoints and weights are written; in its last quarter what is
not finished is stopped."""
SLOWER = 1.5
"""So many times the longest compilation so far is put aside for each that is to come."""


def seconds_for(group: str, left: float, compilation: float) -> float:
    """Seconds of steps for a group whose program is compiled.

    Args:
      group: one of `SHARES`.
      left: seconds to the end, less what is kept back.
      compilation: seconds of the longest compilation so far.
    """
    groups = list(SHARES)
    later = groups[groups.index(group) + 1 :]
    free = max(left - SLOWER * compilation * len(later), 0.0)
    return free * SHARES[group] / (SHARES[group] + sum(SHARES[g] for g in later))


def steps_for(seconds: float, steps_per_second: float, stages: int) -> int:
    """Steps of each of the stages that share these seconds, at least one."""
    return max(int(seconds * steps_per_second / stages), 1)


def every(seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[int], bool]:
    """Asked after every step: whether so many seconds have passed since it last said so."""
    last = clock()

    def due(step: int) -> bool:
        nonlocal last
        if clock() - last < seconds:
            return False
        last = clock()
        return True

    return due
