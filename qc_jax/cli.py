"""The command `qc-jax`.

Nothing that needs jax is imported before it is known what to do: `--help` answers at once.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import qc_jax
from qc_jax.errors import ConfigError, QcJaxError

_OVERVIEW = """\
usage: qc-jax BIDS_DIR OUTPUT_DIR {participant,group} [options]   a whole study (BIDS App)
       qc-jax score SCAN... --output-dir DIR [options]            single scans
       qc-jax preview SCAN [--output-dir DIR]                     artefacts on your own scan
       qc-jax models [MODEL...]                                   which models there are

Can these MRI scans be trusted for measuring the brain, and if not, what is wrong with them?
Each T1-weighted scan gets a segmentation of its grey matter, a map of how uncertain it is for
every cause (the anatomy, motion, an RF spike, noise, ghosting, blur, wrap-around), a score for
each cause, and a report to open in a browser.

  qc-jax score --help, qc-jax BIDS_DIR --help, ...   all options
  qc-jax --version

Exit codes: 0 all scored, 1 some scans refused and the others scored, 2 usage, 3 model,
4 output, 130 interrupted. Called again, it does only what is missing.
"""


@dataclasses.dataclass(frozen=True)
class _Common:
    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    sources: tuple[str, ...] = ()
    """Sources whose maps are written; all by default. Scores and causes always are of all."""
    time_limit: float = 900.0
    """Seconds that one scan may take before it is refused."""
    memory_limit: float = 0.0
    """GB that one scan may take before it is refused; 0 for three quarters of the machine's."""
    scheduler: str = "local"
    """Where scans are scored: local, dask:ADDRESS (of a scheduler that runs), or slurm (queue and
    memory from ~/.config/dask/jobqueue.yaml). Scans and outputs have to be shared."""
    slurm_jobs: int = 10
    """Jobs that SLURM is asked for, one worker each."""
    json: bool = False
    """Print each record as a line of JSON instead of words."""


@dataclasses.dataclass(frozen=True)
class Score(_Common):
    """Scores T1-weighted NIfTI files: maps, records and reports, one folder for each."""

    scans: tyro.conf.Positional[tuple[Path, ...]] = ()
    """NIfTI files (.nii, .nii.gz)."""
    output_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("qc_jax_output")
    """Folder for the outputs."""


@dataclasses.dataclass(frozen=True)
class Study(_Common):
    """Scores every anatomical scan of a BIDS folder (participant), then the study (group)."""

    bids_dir: tyro.conf.Positional[Path] = Path()
    """Holds sub-*/[ses-*/]anat/*_T1w.nii[.gz]; the group level takes participants.tsv from it."""
    output_dir: tyro.conf.Positional[Path] = Path()
    """Folder for the outputs."""
    analysis_level: tyro.conf.Positional[Literal["participant", "group"]] = "participant"
    """participant: every scan; group: table and report of all scans in OUTPUT_DIR."""
    participant_label: tuple[str, ...] = ()
    """Subjects, with or without sub-; all by default."""
    session_id: tuple[str, ...] = ()
    """Sessions, with or without ses-; all by default."""
    suffix: tuple[str, ...] = ("T1w",)
    """Contrasts to score, as BIDS names them: T1w, T2w, FLAIR, ..."""
    iqm_dir: str = ""
    """Group level: also write the scores as MRIQC writes its metrics, a JSON file for each scan in
    this folder."""


@dataclasses.dataclass(frozen=True)
class Preview:
    """Shows every artefact at growing severity on a scan: a PNG and an HTML page."""

    scan: tyro.conf.Positional[Path]
    """NIfTI file."""
    output_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("qc_jax_preview")
    """Folder for the pictures."""
    seed: int = 0
    """Of what is random in an artefact: the place of a spike, the axis of a blur."""
    voxel_size: float = 2.0
    """Of the preview, in mm."""


@dataclasses.dataclass(frozen=True)
class Models:
    """Lists models: what they know and how good their scores are."""

    models: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run folders or .safetensors files; the one in the package by default."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _dispatch(arguments)
    except QcJaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "interrupted; what was scored is kept, run the same command to go on", file=sys.stderr
        )
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_OVERVIEW, end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"qc_jax {qc_jax.__version__}")
        return 0
    commands = {"score": Score, "preview": Preview, "models": Models}
    run: dict[type, Callable[[Any], int]]
    run = {Score: _score, Study: _study, Preview: _preview, Models: _models}
    kind = commands.get(arguments[0], Study)
    rest = arguments if kind is Study else arguments[1:]
    program = "qc-jax" if kind is Study else f"qc-jax {arguments[0]}"
    if kind is Study and sum(not a.startswith("-") for a in arguments) < 3 and "--help" not in rest:
        raise ConfigError(
            f"{' '.join(arguments)}: give BIDS_DIR OUTPUT_DIR and participant or group, or one of "
            "the commands score, preview and models (see qc-jax --help)"
        )
    return run[kind](tyro.cli(kind, args=rest, prog=program))


def _score(arguments: Score) -> int:
    if not arguments.scans:
        raise ConfigError("no scan is given; name NIfTI files: qc-jax score SCAN...")
    from qc_jax.scoring import bids, group

    output = arguments.output_dir
    code = _score_jobs(bids.plain_jobs(arguments.scans), output, arguments)
    for report in group.write_group(output, group.read_records(output)):
        print(f"report: {report}", file=sys.stderr)
    return code


def _study(arguments: Study) -> int:
    from qc_jax.scoring import bids, group, iqms

    if arguments.analysis_level == "group":
        records = group.read_records(arguments.output_dir)
        participants = group.read_participants(arguments.bids_dir)
        for report in group.write_group(arguments.output_dir, records, participants):
            print(f"report: {report}", file=sys.stderr)
        if arguments.iqm_dir:
            number = iqms.write_iqms(Path(arguments.iqm_dir), records)
            print(f"metrics of {number} scans: {arguments.iqm_dir}", file=sys.stderr)
        return 0
    jobs = bids.bids_jobs(
        arguments.bids_dir, arguments.participant_label, arguments.session_id, arguments.suffix
    )
    code = _score_jobs(jobs, arguments.output_dir, arguments)
    print(
        f"reports: {arguments.output_dir}/*.html; for the whole study: "
        f"qc-jax {arguments.bids_dir} {arguments.output_dir} group",
        file=sys.stderr,
    )
    return code


def _score_jobs(jobs, output: Path, arguments: _Common) -> int:
    """Scores with a line for each scan; 1 where any was refused."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    from qc_jax.models import load_model
    from qc_jax.scoring import cluster, outputs, study, worker

    model = load_model(arguments.model or None)
    outputs.claim(output)  # before the progress line, so that an error stands alone
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    limits = worker.Limits(arguments.time_limit, arguments.memory_limit)
    with (
        cluster.connect(arguments.scheduler, arguments.slurm_jobs) as client,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        line = progress.add_task(f"{len(jobs)} scans", total=len(jobs))
        current = progress.add_task("", total=1.0, visible=False)

        def show_share(job, share):
            progress.update(current, description=job.name, completed=share, visible=share < 1)

        def show(record):
            progress.advance(line)
            if arguments.json:
                _print_line(json.dumps(record))
            else:
                what = record.get("sentence", record["status"])
                text = record["reason"] if record["status"] == outputs.REFUSED else what
                progress.console.print(f"{record['name']}: {text}", markup=False, highlight=False)

        records = study.score_study(
            jobs, output, model, arguments.sources, limits, show, show_share, client
        )
    refused = sum(record["status"] == outputs.REFUSED for record in records)
    if refused:
        print(f"{refused} of {len(records)} scans refused, the others scored", file=sys.stderr)
    return 1 if refused else 0


def _print_line(text: str) -> None:
    """To standard output; where its reader has gone away, as `head` does, to nobody any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "w") as nobody:
            os.dup2(nobody.fileno(), sys.stdout.fileno())


def _preview(arguments: Preview) -> int:
    from qc_jax.scoring import preview

    page = preview.write(arguments.scan, arguments.output_dir, arguments.seed, arguments.voxel_size)
    print(f"preview: {page}", file=sys.stderr)
    return 0


def _models(arguments: Models) -> int:
    from qc_jax.models import load_model

    for name in arguments.models or (None,):
        model = load_model(name)
        known = model.calibration
        print(f"{model.path}\n  SHA-256 {model.sha256}")
        print(f"  sources: {', '.join(model.description.sources)}")
        print(f"  grid: {model.description.voxel_size:g} mm")
        for key, value in model.training.items():
            print(f"  {key}: {value}")
        if known:
            print(
                f"  cause right in {known['cause']['accuracy']:.0%}, Dice predicted to "
                f"{known['dice']['mean_absolute_error']:.3f} "
                f"(rank correlation {known['dice']['spearman']:.2f})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
