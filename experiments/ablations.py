"""What does each choice do to the decoupling?  `python -m experiments.ablations`

Every variant is a student of its own with the same budget, in OUTPUT/<variant>.  It differs from
the first in one choice only, and learns from the task network and the teachers of the demo, which
have to be trained first, as the README says, unless the choice changes their layers.  Called again,
it goes on where it stopped.
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments import command, presets, run, run_folder
from qc_jax import files
from qc_jax.errors import ConfigError

DEMO = presets.PRESETS["demo"]


def _student(**changes: Any) -> dict[str, Any]:
    return {"student_loss": dataclasses.replace(DEMO.student_loss, **changes)}


VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "frozen networks see the student's image": {
        "sample": dataclasses.replace(DEMO.sample, teacher_input="same")
    },
    "no L_grad": _student(gradient_weight=0.0),
    "no L_SSIM": _student(ssim_weight=0.0),
    "only the sum of the variances learnt": _student(weight=0.0),
    # Above the first: it is never halved.
    "epsilon fixed": {"plateau": dataclasses.replace(DEMO.plateau, smallest_epsilon=0.1)},
    "L1 in the student, as in Eq. 7": _student(norm=1),
    "absent sources as the teachers say": {"absent_source": "teacher"},
    "variances compared, not their logs": _student(consistency_of="variance"),
    "from random weights": {"start_from_task": False},
    "no level head (instance norm alone)": {
        "network": dataclasses.replace(DEMO.network, level_head=False)
    },
}
"""What a variant changes in the configuration of the demo, by what it is called; nothing in the
first."""
FIRST = next(iter(VARIANTS))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the variants on the embedded population and prints what each reached."""

    output_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/ablations")
    """Folder of the runs, and of ablations.json."""
    demo: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/demo")
    """Run folder of the demo, whose task network and teachers the students learn from."""
    steps: int = 600
    """Steps of each student."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Which of them, after the first; all by default."""
    draws: int = 6
    """Contrasts of each validation subject."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(train_all, Arguments, "experiments.ablations", arguments)


def train_all(arguments: Arguments) -> None:
    """Trains, writes `ablations.json` and prints the table."""
    unknown = sorted(set(arguments.variants) - set(VARIANTS))
    if unknown:
        raise ConfigError(f"no variant {unknown[0]!r}; there are {list(VARIANTS)}")
    found = {}
    for name in dict.fromkeys((FIRST, *arguments.variants)):
        folder = arguments.output_dir / folder_name(name)
        config = config_of(name, arguments.steps, arguments.draws)
        if not folder.exists():
            take_over(arguments.demo, folder, config)
        run.run(run.Arguments(config, "all", "demo", str(folder)))
        found[name] = summarise(folder)
        files.write_json(arguments.output_dir / "ablations.json", found)
    print_table(found)


def folder_name(variant: str) -> str:
    """The name of a variant as that of a folder."""
    return "".join(c for c in variant.replace(" ", "_") if c.isalnum() or c == "_")


def take_over(demo: Path, folder: Path, config: presets.Config) -> None:
    """Begins the folder of a variant with the demo's task network and teachers, unless its layers
    are others.

    Raises:
      ConfigError: they are not trained yet.
    """
    if config.network != DEMO.network:
        return
    summary = run_folder.read_summary(demo)
    if set(summary.get("teachers", {})) != set(DEMO.sources):
        raise ConfigError(
            f"{demo} holds no task network with all teachers; train them with "
            f"`python -m experiments.run --stage=teachers --run-dir={demo}`"
        )
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for stage in ("task", "teachers"):
        shutil.copytree(demo / stage, partial / stage)
    if (demo / "data.json").exists():
        shutil.copy(demo / "data.json", partial)
    taken = {stage: summary[stage] for stage in ("task", "teachers")}
    files.write_json(partial / "summary.json", taken)
    partial.rename(folder)


def config_of(variant: str, steps: int, draws: int) -> presets.Config:
    """The demo with students of this budget, and with what the variant changes."""
    return dataclasses.replace(
        DEMO,
        evaluation_draws=draws,
        steps_student=steps,
        **VARIANTS[variant],
    )


def summarise(folder: Path) -> dict[str, Any]:
    """A finished run in a few numbers.

    Returns:
      `dice` on clean scans; `auc`, the decoupling matrix of the student, rows the artefact put in;
      `own` and `others`, the means on and off its diagonal, the task left out, where others count
      as 0.5 + |AUC - 0.5|; `severity`, the mean rank correlation; `cause`, how often the cause was
      right, by cross-validation over subjects.
    """
    student = run_folder.read_summary(folder)["student"]
    calibration = json.loads((folder / "student.json").read_text())["calibration"]
    names = list(student["auc"])
    matrix = np.array([[student["auc"][row][column] for column in names] for row in names])
    off = ~np.eye(len(names), dtype=bool)
    return {
        "dice": student["dice"],
        "auc": student["auc"],
        "own": float(np.diag(matrix).mean()),
        "others": float((0.5 + np.abs(matrix[off] - 0.5)).mean()),
        "severity": float(np.mean(list(student["severity_spearman"].values()))),
        "cause": calibration["cause"]["accuracy"],
    }


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """One line for each variant."""
    columns: Sequence[str] = ("dice", "own", "others", "severity", "cause")
    table = Table("variant", *columns, title="Ablations: validation subjects of the demo")
    for name, numbers in found.items():
        table.add_row(name, *(f"{numbers[column]:.2f}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
