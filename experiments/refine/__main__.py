"""`python -m experiments.refine`: the level head of a student trained again."""

import dataclasses
import sys
from pathlib import Path

from experiments import command
from qc_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the level head of a student again and calibrates it.

    The level head says how much of each cause there is; all that draws the maps in detail and the
    grey matter stays. What it sees is computed once for many simulated scans and kept, so that two
    CPU cores are enough: about 15 seconds for each head of 2 mm. Called again, it goes on where it
    stopped.
    """

    output: Path
    """The .safetensors file; a .json of the same name is written beside it."""
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    data: str = ""
    """labels:DIR, or empty for the embedded population."""
    split: str = ""
    """JSON file that names the subjects of train, validation and test; empty for 80/10/10."""
    subjects: int = 40
    """Size of the embedded population."""
    deformation: float = 1.0
    """Of the heads, as in training."""
    heads: int = 200
    """Heads to learn from, in turn of each training subject."""
    validation_heads: int = 32
    """Heads on which the loss is measured, in turn of each validation subject."""
    steps: int = 6000
    """Steps of the training."""
    draws: int = 4
    """Contrasts of each validation subject for the calibration, each clean, with every artefact and
    with several."""
    seed: int = 0
    """Of everything random."""
    work_dir: Path = Path("runs/refine")
    """Folder for what the level head sees: 5 MB for each head of 2 mm."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(refine, Arguments, "experiments.refine", arguments)


def refine(arguments: Arguments) -> None:
    """Keeps features, trains, scores validation scans, writes weights and calibration."""
    import jax
    from rich.console import Console
    from rich.progress import track

    from experiments import build, evaluate
    from experiments.refine import features, levels
    from qc_jax import augment, data
    from qc_jax.data import cache
    from qc_jax.models import load_model, save_model
    from qc_jax.network import LevelHead
    from qc_jax.scoring import calibration

    console = Console(stderr=True)
    model = load_model(arguments.model or None)
    description = model.description
    if not description.level_head:
        raise ConfigError(f"{model.path} has no level head; there is nothing to train again")
    cache.use_compilation_cache()
    subjects = build.heads_for(description, arguments.data, arguments.subjects, arguments.seed)
    names = [subject.name for subject in subjects]
    split = (
        data.read_split(Path(arguments.split), names)
        if arguments.split
        else data.split_subjects(names, arguments.seed)
    )
    held = {part: [s for s in subjects if s.name in members] for part, members in split.items()}
    sources = [s for s in augment.ALL_SOURCES if s.name in description.sources]

    windows = {}
    for part, number, deformation in (
        ("train", arguments.heads, arguments.deformation),
        ("validation", arguments.validation_heads, 0.0),
    ):
        found = features.of_population(
            model, held[part], sources, number, deformation, arguments.seed, arguments.work_dir
        )
        line = track(found, f"{part} heads", number, console=console)
        windows[part] = levels.windows_of(list(line))

    head = LevelHead(1 + len(sources))
    smooth = levels.smoothing(windows["train"].local.shape[1], description.depth)
    before = model.params["params"]["level"]
    schedule = levels.Schedule(arguments.steps, seed=arguments.seed)
    steps = iter(track(range(schedule.steps), "level head", console=console))
    fresh = levels.fresh_params(jax.random.key(arguments.seed), windows["train"])
    trained = levels.train(fresh, windows["train"], smooth, schedule, lambda: next(steps))
    for text, params in (("before", before), ("after", trained)):
        value = float(levels.loss(head, params, windows["validation"], smooth))
        print(f"mean square of the log-variances' differences on validation, {text}: {value:.3f}")

    params = {"params": {**model.params["params"], "level": trained}}
    refined = dataclasses.replace(model, params=params)
    scored = evaluate.score_with_progress(
        refined, held["validation"], sources, arguments.draws, arguments.seed + 1
    )
    facts = {
        **model.training,
        "level head": f"{arguments.heads} heads, {arguments.steps} steps, "
        f"from the weights {model.sha256[:12]}",
        "validation scans": len(scored),
    }
    known = calibration.fit(scored, description.sources)
    written = save_model(arguments.output, description, params, facts, known)
    print(f"{written.path}: SHA-256 {written.sha256}")


if __name__ == "__main__":
    sys.exit(main())
