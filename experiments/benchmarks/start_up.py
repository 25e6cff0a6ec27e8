"""Importing the library and asking for help, against importing jax."""

import subprocess
import sys
import time
from collections.abc import Iterator

from experiments.benchmarks.measure import Record, record_of


def start_up(quick: bool) -> Iterator[Record]:
    """Whole processes, from start to end."""
    jax_alone = ["-c", "import jax"]
    library = ["-c", "import qc_jax.augment, qc_jax.losses, qc_jax.network"]
    for name, command in [
        ("import augment, losses and network", library),
        ("experiments.run --help", ["-m", "experiments.run", "--help"]),
    ]:
        times = [(_run(command), _run(jax_alone)) for _ in range(3 if quick else 7)]
        yield record_of(name, "import jax", times[1:], "a new process")


def _run(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun
