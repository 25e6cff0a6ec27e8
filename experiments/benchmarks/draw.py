"""Draws the ratios of `benchmarks.json`: `python -m experiments.benchmarks.draw JSON PNG`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt


def plot(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """A row for each comparison, and in it a dot for each shape: how many times faster we are."""
    names = list(dict.fromkeys((record["name"], record["peer"]) for record in records))
    figure, axis = plt.subplots(figsize=(9, 0.32 * len(names) + 0.8), layout="constrained")
    for row, name in enumerate(names):
        ratios = [r["ratio"] for r in records if (r["name"], r["peer"]) == name]
        colours = ["C0" if ratio >= 1 else "C1" for ratio in ratios]
        axis.scatter(ratios, [row] * len(ratios), c=colours, s=18, alpha=0.7)
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xlabel("times faster than the peer")
    axis.set_yticks(range(len(names)), [f"{name}\n{peer}" for name, peer in names], fontsize=6)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120, metadata={"Software": "qc_jax"})
    plt.close(figure)


def main() -> int:
    """Returns the exit code."""
    source, target = map(Path, sys.argv[1:])
    plot(target, json.loads(source.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
