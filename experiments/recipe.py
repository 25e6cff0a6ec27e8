"""The whole chain in so many minutes: task, teachers and student, from a cold start on one GPU.

python -m experiments.pack labels:DIR --output=heads.npz
python -m experiments.recipe --data=packed:heads.npz --run-dir=runs/recipe --output=out
python -m experiments.export runs/recipe --output=student.safetensors    # later, on a CPU

With heads to scan, processes scan them on the processors while the networks are trained, and a
source head is trained in the end on what they have made; `experiments.refine` calibrates it.

python -m experiments.pack labels:DIR --output=to_scan.npz --split=split.json --scans *.nii.gz
python -m experiments.recipe --data=packed:heads.npz --to-scan=to_scan.npz --output=out
python -m experiments.refine --model=runs/recipe/weights/sources.safetensors --steps=0 ...
"""

import dataclasses
import sys
import time
from typing import Annotated

import tyro

from experiments import command, limits
from experiments.presets import PRESETS, Config
from experiments.signals import stop_on_signal


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains task network, teachers and student within so many minutes.

    Called again with the same folder it goes on where it stopped, for as many minutes again. The
    numbers of steps follow from the time: --steps-task, --steps-teachers and --steps-student are
    set by the recipe, and --checkpoint-every is not used.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    minutes: float = 12.0
    """From the start of this command to its end, compilation included."""
    run_dir: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/recipe"
    """Folder of the run."""
    to_scan: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Heads to scan for a source head, from `experiments.pack --split`; empty for none."""
    processes: int = 0
    """That scan heads, with 4 to 7 GB each; 0 for two less than there are processors."""
    output: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Where the run folder is packed into files below 16 MiB, and the metrics beside them; empty
    for nowhere."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 when all is trained, 75 when the time was over before."""
    default = Arguments(PRESETS["gpu"])
    prog = "python -m experiments.recipe"

    def work() -> None:
        started = time.monotonic()
        parsed = tyro.cli(Arguments, args=arguments, default=default, prog=prog)
        limits.check(parsed, processes=(0, 10**4))
        with stop_on_signal() as stop:
            stop.deadline = started + 60.0 * parsed.minutes
            # jax and all that needs it come with it, so that --help and usage errors are quick.
            from experiments import recipe_runner

            recipe_runner.run(parsed, stop)

    return command.exit_code_of(work)


if __name__ == "__main__":
    sys.exit(main())
