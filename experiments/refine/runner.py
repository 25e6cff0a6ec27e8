"""A source head from beginning to end: scans, features, training, calibration, weights."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID, track

from experiments import acquired, kept, scanning
from experiments.refine import calibrate, features, heads
from qc_jax.data import cache
from qc_jax.descriptions import Calibration
from qc_jax.errors import ConfigError
from qc_jax.models import Description, Model, load_model, save_model

if TYPE_CHECKING:
    from experiments.refine.__main__ import Arguments


class Scans(NamedTuple):
    """Draws of scanned heads, kept in a folder.

    Attributes:
      heads: who take turns.
      description: of the model whose grid they come to.
      seed: of everything random.
      folder: that of these draws.
      number: of draws.
    """

    heads: Sequence[acquired.Head]
    description: Description
    seed: int
    folder: Path
    number: int

    def draw(self, index: int) -> acquired.Draw:
        """The draw of this number."""
        return acquired.kept_draw(self.heads, self.description, index, self.seed, self.folder)


def refine(arguments: "Arguments") -> None:
    """Scans, keeps features, trains, scores validation scans, writes weights and calibration."""
    console = Console(stderr=True)
    cache.use_compilation_cache()
    model = load_model(arguments.model or None)
    if not arguments.steps and not model.description.source_head:
        raise ConfigError(f"{model.path} has no source head to calibrate; train one: --steps 4000")
    model = features.with_source_head(model)
    scans = _scan(arguments, model.description, console)

    head, facts = model.params["params"]["sources"], dict(model.training)
    if arguments.steps:
        head = _trained(arguments, model, scans["train"], console)
        facts["source head"] = (
            f"{arguments.draws} scanned heads of {len(scans['train'].heads)} people in "
            f"{len(model.description.sources) + 2} versions, {arguments.steps} steps, from the "
            f"weights {model.sha256[:12]}"
        )
    params = {"params": {**model.params["params"], "sources": head}}
    known = _calibration(arguments, model, params, scans["validation"], console)
    written = save_model(arguments.output, model.description, params, facts, known)
    print(f"{written.path}: SHA-256 {written.sha256}")


def _scan(arguments: "Arguments", description: Description, console: Console) -> dict[str, Scans]:
    """The scans of each part, made now or before."""
    groups = acquired.groups(arguments.labels, arguments.split, arguments.scans)
    numbers = {
        "train": arguments.draws if arguments.steps else 0,
        "validation": arguments.validation_draws,
    }
    found = {}
    for seed, (part, number) in enumerate(numbers.items(), arguments.seed):
        below = arguments.work_dir / part
        folder = acquired.folder_for(below, groups[part], description, seed)
        scans = found[part] = Scans(groups[part], description, seed, folder, number)
        with Progress(console=console) as progress:
            line = progress.add_task(f"scans, {part}", total=number)
            show = functools.partial(_show, progress, line)
            scanning.make(scans.heads, description, seed, folder, arguments.processes, number, show)
    return found


def _show(progress: Progress, line: TaskID, number: int) -> None:
    progress.update(line, completed=number)


def _trained(arguments: "Arguments", model: Model, scans: Scans, console: Console) -> Any:
    """Parameters of a source head that has learnt from the scans."""
    folder = kept.folder_for(
        arguments.work_dir / "features", (), model.sha256, scans.folder.name, arguments.seed
    )

    def seen(index: int) -> features.Features:
        rng = np.random.default_rng([arguments.seed, index])
        return kept.arrays_or_make(
            folder / f"{index:04d}.npz",
            features.Features,
            lambda: features.of_draw(model, scans.draw(index), rng),
        )

    numbers = track(range(scans.number), "features", console=console)
    blocks = heads.blocks_of([seen(index) for index in numbers])
    schedule = heads.Schedule(arguments.steps, seed=arguments.seed)
    with Progress(console=console) as progress:
        line = progress.add_task("source head", total=schedule.steps)
        return heads.train(blocks, schedule, lambda value: progress.advance(line))


def _calibration(
    arguments: "Arguments", model: Model, params: Any, scans: Scans, console: Console
) -> Calibration:
    """What the scores of the model with these parameters mean, by validation scans."""
    model = dataclasses.replace(model, params=jax.tree.map(jax.numpy.asarray, params))
    head = params["params"]["sources"]
    digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(head)))
    known_by = (model.sha256, digest.hexdigest(), scans.folder.name)
    folder = kept.folder_for(arguments.work_dir / "trials", (), *known_by)
    numbers = track(range(scans.number), "calibration", console=console)
    return calibrate.fit(model, scans.draw, scans.heads, numbers, folder)
