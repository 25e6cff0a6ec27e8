"""Timing us and a peer in turn, and what this machine could reach."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Record:
    """One comparison; seconds are medians, low and high the quartiles.

    Attributes:
      name: what was measured.
      peer: what it was measured against.
      ratio: peer_seconds / ours_seconds, above 1 where we are faster.
      ours_first_seconds, peer_first_seconds: of the first call, which compiles; None where there
        is no such call.
      shapes: of the arrays, for people.
      notes: further figures by name.
    """

    name: str
    peer: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    ours_low: float
    ours_high: float
    peer_low: float
    peer_high: float
    ours_first_seconds: float | None
    peer_first_seconds: float | None
    device: str
    threads: int
    shapes: str
    notes: dict[str, float] = dataclasses.field(default_factory=dict)


def seconds(call: Callable[[], object]) -> float:
    """Of one call; jax results are waited for."""
    begun = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begun


def compare(
    name: str,
    peer: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    shapes: str,
    repeats: int = 9,
    notes: dict[str, float] | None = None,
) -> Record:
    """Calls the two alternately, after a first call and a warm-up of each."""
    first = seconds(ours), seconds(theirs)
    seconds(ours), seconds(theirs)
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    return record_of(name, peer, times, shapes, first, notes)


def record_of(
    name: str,
    peer: str,
    times: Sequence[tuple[float, float]],
    shapes: str,
    first: tuple[float | None, float | None] = (None, None),
    notes: dict[str, float] | None = None,
) -> Record:
    """The record of pairs of times, ours first."""
    low, median, high = np.quantile(np.array(times), [0.25, 0.5, 0.75], axis=0)
    return Record(
        name,
        peer,
        median[0],
        median[1],
        median[1] / median[0],
        low[0],
        high[0],
        low[1],
        high[1],
        first[0],
        first[1],
        jax.devices()[0].device_kind,
        len(os.sched_getaffinity(0)),
        shapes,
        notes or {},
    )


def in_fresh_process(code: str, **environment: str) -> Any:
    """Runs Python code that ends by printing one JSON object, and returns that object."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def peak_megabytes() -> float:
    """Most memory that this process has held (Linux).

    `getrusage` would not do: a child begins there with the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def roofline() -> dict[str, float]:
    """What this machine reaches now: GFLOP/s of a matrix product, GB/s of a copy."""
    a = jax.random.normal(jax.random.key(0), (2048, 2048))
    x = jnp.zeros(2**25)
    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda x: x + 1)
    seconds(lambda: product(a)), seconds(lambda: copy(x))
    best = min(seconds(lambda: product(a)) for _ in range(5))
    best_copy = min(seconds(lambda: copy(x)) for _ in range(5))
    return {
        "matmul_gflops": 2 * 2048**3 / best / 1e9,
        "copy_gbytes": 2 * x.nbytes / best_copy / 1e9,
    }
