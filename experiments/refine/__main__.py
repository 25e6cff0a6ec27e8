"""`python -m experiments.refine`: a source head for a student, from scans as scanners make them."""

import dataclasses
import sys
from pathlib import Path

from experiments import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the source head of a student and calibrates it.

    Heads are scanned on grids of their own, spoilt in k-space and put through pipelines. The
    network below the head stays as it is, so that two CPU cores are enough: about a minute for each
    scanned head, and minutes for the training. Called again, it goes on where it stopped.
    """

    output: Path
    """The .safetensors file; a .json of the same name is written beside it."""
    labels: Path
    """Folder of label maps with FreeSurfer's numbers."""
    split: Path
    """JSON file that names the label maps of train, validation and test."""
    scans: tuple[Path, ...] = ()
    """Real scans without artefacts (NIfTI); one in four is for validation."""
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    draws: int = 160
    """Scanned heads to learn from, each in six versions."""
    validation_draws: int = 32
    """Scanned heads to calibrate on."""
    steps: int = 2400
    """Steps of the training."""
    seed: int = 1
    """Of everything random."""
    work_dir: Path = Path("runs/refine")
    """Folder for scans and what is seen of them: 60 MB for each draw at 2 mm."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(refine, Arguments, "experiments.refine", arguments)


def refine(arguments: Arguments) -> None:
    """Scans, keeps features, trains, scores validation scans, writes weights and calibration."""
    import jax
    from rich.console import Console
    from rich.progress import track

    from experiments import acquired
    from experiments.refine import calibrate, features, heads
    from qc_jax.data import cache
    from qc_jax.models import load_model, save_model

    console = Console(stderr=True)
    cache.use_compilation_cache()
    model = features.with_source_head(load_model(arguments.model or None))
    description = model.description
    groups = acquired.groups(arguments.labels, arguments.split, arguments.scans)
    numbers = {"train": arguments.draws, "validation": arguments.validation_draws}
    draws = {
        part: acquired.kept(
            groups[part],
            description,
            number,
            arguments.seed + (part == "validation"),
            arguments.work_dir / part,
        )
        for part, number in numbers.items()
    }
    seen = features.kept(
        model, draws["train"], arguments.draws, arguments.seed, arguments.work_dir / "features"
    )
    blocks = heads.blocks_of(list(track(seen, "scans", arguments.draws, console=console)))
    schedule = heads.Schedule(arguments.steps, seed=arguments.seed)
    line = iter(track(range(schedule.steps), "source head", console=console))
    student = heads.train(blocks, schedule, lambda value: next(line))

    params = {"params": {**model.params["params"], "sources": student}}
    model = dataclasses.replace(model, params=jax.tree.map(jax.numpy.asarray, params))
    facts = {
        **model.training,
        "source head": f"{arguments.draws} scanned heads of {len(groups['train'])} people in "
        f"{acquired.VERSIONS} versions, {arguments.steps} steps, from the weights "
        f"{model.sha256[:12]}",
    }
    validation = track(draws["validation"], "calibration", numbers["validation"], console=console)
    known = calibrate.fit(model, validation, groups["validation"])
    written = save_model(arguments.output, description, params, facts, known)
    print(f"{written.path}: SHA-256 {written.sha256}")


if __name__ == "__main__":
    sys.exit(main())
