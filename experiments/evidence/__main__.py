"""`python -m experiments.evidence`: does the method do what it claims, on people unseen?"""

import dataclasses
import sys
from pathlib import Path

from experiments import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures decoupling, severity, quality and coverage on held-back subjects.

    Called again, it goes on where it stopped.
    """

    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    data: str = ""
    """labels:DIR, or empty for the embedded population (not what the shipped model learnt on)."""
    split: str = ""
    """JSON file that names the subjects; those under test are used. Without it, all are."""
    scanned: bool = False
    """Artefacts in the k-space of a scanner's grid, as on real scans, in the place of the network's
    grid; of label maps alone, and without TorchIO's."""
    subjects: int = 6
    """Size of the embedded population."""
    draws: int = 8
    """Contrasts of each subject; each is scanned clean, with each artefact and with a mixture; 0
    for TorchIO's artefacts alone."""
    torchio_draws: int = 1
    """Contrasts of each subject for TorchIO's artefacts at ten severities; 0 leaves them out."""
    seed: int = 1
    """Of everything random."""
    output_dir: Path = Path("runs/evidence")
    """Folder for evidence.json, the figures and the scores of each scan."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.evidence", arguments, draws=(0, 100_000))


def run(arguments: Arguments) -> None:
    """Measures, writes `evidence.json`, prints the tables and draws the figures."""
    from experiments.evidence import measuring  # slow to import

    measuring.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
