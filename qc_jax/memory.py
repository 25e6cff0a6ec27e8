"""How much memory this process may take, where something holds it to less than the machine has."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")


@functools.cache
def limit() -> int:
    """Bytes: the least of what the machine has, control groups allow (a container, a job of a batch
    system) and SLURM has granted."""
    granted = int(os.environ.get("SLURM_MEM_PER_NODE") or 0) * 2**20
    limits = (psutil.virtual_memory().total, granted, *_of_groups(Path("/proc/self/cgroup")))
    return min(number for number in limits if number > 0)


def _of_groups(membership: Path, groups: Path = _GROUPS) -> Iterator[int]:
    """The limits of the control groups of a process, and of those around them.

    Args:
      membership: lines `number:controllers:/path`, with no controllers in version 2.
      groups: where the groups are mounted.
    """
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = groups / "memory" if controllers else groups
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            place = root / path.lstrip("/")
            for folder in (place, *place.parents):
                # A container does not see the groups around it; "max" is no number.
                with contextlib.suppress(OSError, ValueError):
                    yield int((folder / name).read_text())
