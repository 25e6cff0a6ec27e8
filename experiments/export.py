"""`python -m experiments.export`: a trained student as weights to score with, well calibrated.

A run writes `student.safetensors` by itself, calibrated on few scans; this draws more of them.
"""

import dataclasses
import sys
from pathlib import Path

import tyro

from experiments import command
from experiments.presets import Config
from qc_jax.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Calibrates the student of a run on its validation subjects and writes its weights."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of a run whose student is trained."""
    output: Path
    """The .safetensors file; a .json of the same name is written beside it."""
    draws: int = 12
    """Contrasts of each validation subject, each clean and with every artefact."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(export, Arguments, "experiments.export", arguments)


def export(arguments: Arguments) -> None:
    """Reads the run, scores validation scans, writes weights and calibration."""
    from experiments import build, evaluate, run_folder, train
    from qc_jax import data
    from qc_jax.data import cache

    config = run_folder.read_config(arguments.run_dir)
    build.check(config)
    student = build.stages(config)[-1]
    params = train.load_params(config, arguments.run_dir, student, None)
    if params is None:
        raise CheckpointError(f"{arguments.run_dir} holds no student that is trained to its end")
    cache.use_compilation_cache()
    subjects = build.subjects_of(config)
    names = [subject.name for subject in subjects]
    split = data.read_split(arguments.run_dir / "splits.json", names)
    run_folder.check_data(arguments.run_dir, subjects)
    held_back = [subject for subject in subjects if subject.name in split["validation"]]
    model = build.model_of(config, arguments.output, params, student.sources)
    # Other draws than those by which the run was judged.
    scored = evaluate.score_with_progress(
        model, held_back, student.sources, arguments.draws, config.seed + 1
    )
    model = write_weights(config, model, scored)
    print(f"{model.path}: SHA-256 {model.sha256}, {model.path.stat().st_size / 2**20:.1f} MB")


def write_weights(config: Config, model, scored):
    """Writes a student as weights that can be scored with, calibrated on validation scans.

    Args:
      config: of its run.
      model: not calibrated yet; its path is where it is written.
      scored: validation scans, see `evaluate.score_scans`.

    Returns:
      The calibrated model.
    """
    from qc_jax.models import save_model
    from qc_jax.scoring import calibration

    training_facts = {
        "data": "label maps"
        if config.heads.data.startswith(("labels:", "packed:"))
        else "images with labels",
        "steps": f"task {config.steps_task}, each teacher {config.steps_teachers}, "
        f"student {config.steps_student}",
        "validation scans": len(scored),
    }
    if not config.heads.data:
        training_facts["data"] = "embedded population"
    several = len({scan.subject for scan in scored}) > 1
    known = calibration.fit(scored, model.description.sources) if several else {}
    return save_model(model.path, model.description, model.params, training_facts, known)


if __name__ == "__main__":
    sys.exit(main())
