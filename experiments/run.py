"""Trains and evaluates: `python -m experiments.run --stage=teachers`."""

import dataclasses
import sys
from typing import Annotated, Literal, cast

import tyro

from experiments import command, limits
from experiments.presets import PRESETS, Config, Until
from experiments.signals import stop_on_signal
from qc_jax.errors import ConfigError

Preset = Literal["demo", "gpu", "paper"]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the task network, the teachers and the student, and evaluates them.

    A stage trains what it needs and does not find. Called again in the same folder, it goes on
    where it stopped.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    stage: Until = "all"
    """What to do: task, then teachers (one for each source), then student; evaluate measures what
    is there once more."""
    preset: Preset = "demo"
    """Defaults of all fields below."""
    run_dir: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo"
    """Folder of the run: configuration, checkpoints, metrics, figures, summary."""
    coordinator: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")] = ""
    """Train over several processes that share the folder, this one among them: where process 0
    listens, or auto to learn it and both numbers from SLURM, Open MPI or the TPU. Nothing is
    measured then; --stage=evaluate does that in one process."""
    processes: int = 1
    """How many processes there are."""
    process: int = 0
    """Which of them this is, from 0."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return command.exit_code_of(lambda: run(parse(arguments)))


def parse(arguments: list[str]) -> Arguments:
    """Command line to arguments; the preset gives the defaults of the other fields."""
    preset = "demo"
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--preset":
            preset = value or "".join(arguments[i + 1 : i + 2])
    if preset not in PRESETS:
        raise ConfigError(f"--preset {preset} is unknown: choose from {', '.join(PRESETS)}")
    named = cast(Preset, preset)
    default = Arguments(config=PRESETS[preset], preset=named, run_dir=f"runs/{preset}")
    return tyro.cli(Arguments, args=arguments, default=default, prog="python -m experiments.run")


def run(arguments: Arguments) -> None:
    """Does what the arguments say."""
    limits.check(arguments)
    if arguments.process >= arguments.processes:
        raise ConfigError(
            f"--process {arguments.process}: they are counted from 0 to {arguments.processes - 1}"
        )
    if not arguments.run_dir.strip():
        raise ConfigError("--run-dir is empty; name a folder")
    with stop_on_signal() as stop:
        # jax and all that needs it come with it, so that --help and usage errors are quick.
        from experiments import runner

        runner.run(arguments, stop)


if __name__ == "__main__":
    sys.exit(main())
