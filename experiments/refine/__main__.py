"""`python -m experiments.refine`: a source head for a student, from scans as scanners make them."""

import dataclasses
import functools
import hashlib
import sys
from pathlib import Path

from experiments import command
from qc_jax.errors import ConfigError


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
    """Scanned heads to learn from, each clean, with each cause and with two."""
    validation_draws: int = 32
    """Scanned heads to calibrate on."""
    steps: int = 4000
    """Steps of the training; 0 to calibrate the source head that the model has."""
    processes: int = 1
    """Processes that scan heads at once, with 4 to 7 GB each."""
    seed: int = 1
    """Of everything random."""
    work_dir: Path = Path("runs/refine")
    """Folder for scans and what is seen of them: 60 MB for each draw at 2 mm."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(refine, Arguments, "experiments.refine", arguments, steps=(0, 10**9))


def refine(arguments: Arguments) -> None:
    """Scans, keeps features, trains, scores validation scans, writes weights and calibration."""
    import jax
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress, track

    from experiments import acquired, kept, scanning
    from experiments.refine import calibrate, features, heads
    from qc_jax.data import cache
    from qc_jax.models import load_model, save_model

    console = Console(stderr=True)
    cache.use_compilation_cache()
    model = load_model(arguments.model or None)
    if not arguments.steps and not model.description.source_head:
        raise ConfigError(f"{model.path} has no source head to calibrate; train one: --steps 4000")
    model = features.with_source_head(model)
    description = model.description
    groups = acquired.groups(arguments.labels, arguments.split, arguments.scans)
    seeds = {"train": arguments.seed, "validation": arguments.seed + 1}
    folders = {
        part: acquired.folder_for(arguments.work_dir / part, groups[part], description, seed)
        for part, seed in seeds.items()
    }

    learnt_from = arguments.draws if arguments.steps else 0
    for part, number in (("train", learnt_from), ("validation", arguments.validation_draws)):
        with Progress(console=console) as progress:
            line = progress.add_task(f"scans, {part}", total=number)
            scanning.make(
                groups[part],
                description,
                seeds[part],
                folders[part],
                arguments.processes,
                number,
                functools.partial(_show, progress, line),
            )

    def draw(part: str, index: int) -> acquired.Draw:
        return acquired.kept_draw(groups[part], description, index, seeds[part], folders[part])

    below = arguments.work_dir / "features"
    seen_by = kept.folder_for(below, (), model.sha256, folders["train"].name, arguments.seed)

    def seen(index: int) -> features.Features:
        rng = np.random.default_rng([arguments.seed, index])
        return kept.arrays_or_make(
            seen_by / f"{index:04d}.npz",
            features.Features,
            lambda: features.of_draw(model, draw("train", index), rng),
        )

    student = model.params["params"]["sources"]
    if arguments.steps:
        scans = track(range(arguments.draws), "features", console=console)
        blocks = heads.blocks_of([seen(index) for index in scans])
        schedule = heads.Schedule(arguments.steps, seed=arguments.seed)
        with Progress(console=console) as progress:
            line = progress.add_task("source head", total=schedule.steps)
            student = heads.train(blocks, schedule, lambda value: progress.advance(line))

    params = {"params": {**model.params["params"], "sources": student}}
    trained = dataclasses.replace(model, params=jax.tree.map(jax.numpy.asarray, params))
    facts = dict(model.training)
    if arguments.steps:
        facts["source head"] = (
            f"{arguments.draws} scanned heads of {len(groups['train'])} people in "
            f"{len(description.sources) + 2} versions, {arguments.steps} steps, from the weights "
            f"{model.sha256[:12]}"
        )
    scans = track(range(arguments.validation_draws), "calibration", console=console)
    digest = hashlib.sha256(b"".join(leaf.tobytes() for leaf in jax.tree.leaves(student)))
    tried = kept.folder_for(
        arguments.work_dir / "trials",
        (),
        model.sha256,
        digest.hexdigest(),
        folders["validation"].name,
    )
    known = calibrate.fit(
        trained, functools.partial(draw, "validation"), groups["validation"], scans, tried
    )
    written = save_model(arguments.output, description, params, facts, known)
    print(f"{written.path}: SHA-256 {written.sha256}")


def _show(progress, line, number: int) -> None:
    progress.update(line, completed=number)


if __name__ == "__main__":
    sys.exit(main())
