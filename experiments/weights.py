"""The student of a run as weights to score with, calibrated on validation scans."""

from collections.abc import Sequence
from pathlib import Path

from experiments import build, evaluate, run_folder, train
from experiments.presets import Config
from qc_jax import data
from qc_jax.data import cache
from qc_jax.errors import CheckpointError
from qc_jax.models import Model, save_model
from qc_jax.scoring import calibration
from qc_jax.scoring.calibration import KnownScan


def export(run_dir: Path, output: Path, draws: int) -> None:
    """Reads a run, scores its validation subjects, writes weights and calibration.

    Args:
      run_dir: folder of the run.
      output: the .safetensors file.
      draws: contrasts of each subject, other ones than those by which the run was judged.

    Raises:
      CheckpointError: its student is not trained.
    """
    config = run_folder.read_config(run_dir)
    build.check(config)
    student = build.stages(config)[-1]
    params = train.load_params(config, run_dir, student, None)
    if params is None:
        raise CheckpointError(f"{run_dir} holds no student that is trained to its end")
    cache.use_compilation_cache()
    subjects = build.subjects_of(config)
    split = data.read_split(run_dir / "splits.json", [subject.name for subject in subjects])
    run_folder.check_data(run_dir, subjects)
    held_back = [subject for subject in subjects if subject.name in split["validation"]]
    model = build.model_of(config, output, params, student.sources)
    scored = evaluate.score_with_progress(model, held_back, student.sources, draws, config.seed + 1)
    model = write(config, model, scored)
    print(f"{model.path}: SHA-256 {model.sha256}, {model.path.stat().st_size / 2**20:.1f} MB")


def write(config: Config, model: Model, scored: Sequence[KnownScan]) -> Model:
    """Writes a student as weights that can be scored with, calibrated on validation scans.

    Args:
      config: of its run.
      model: not calibrated yet; its path is where it is written.
      scored: validation scans, see `evaluate.score_scans`.

    Returns:
      The calibrated model.
    """
    labelled = config.heads.data.startswith(("labels:", "packed:"))
    kind = "label maps" if labelled else "images with labels"
    facts = {
        "data": kind if config.heads.data else "embedded population",
        "steps": f"task {config.steps_task}, each teacher {config.steps_teachers}, "
        f"student {config.steps_student}",
        "validation scans": len(scored),
    }
    several = len({scan.subject for scan in scored}) > 1
    known = calibration.fit(scored, model.description.sources) if several else {}
    return save_model(model.path, model.description, model.params, facts, known)
