"""What `qc-jax` does: its commands, their options, and the work behind each."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from qc_jax import process, progress
from qc_jax.errors import ConfigError, OutputError
from qc_jax.terminal import note, say

if TYPE_CHECKING:  # whose package takes seconds to import
    from qc_jax.scoring.decision import Rule
    from qc_jax.scoring.jobs import Job
    from qc_jax.scoring.record_fields import Record


@dataclasses.dataclass(frozen=True)
class Common:
    """Options of all commands that score."""

    model: str = ""
    """Run folder or .safetensors weights; the model in the package by default."""
    sources: tuple[str, ...] = ()
    """Sources whose maps are written; all by default. Scores and causes always are of all."""
    maps: Literal["none", "cause", "all"] = "all"
    """NIfTI maps of each scan: none; the segmentation and the variance of the named cause; or all.
    Of a head of 1 mm all take 13 MB, the cause's 0.3 to 3 MB; report and record take 2 to 5 MB
    besides."""
    keep_dice: float = 0.87
    """Predicted Dice from which on a scan is kept for measuring grey matter."""
    drop_dice: float = 0.75
    """Predicted Dice below which a scan is dropped; 0 drops none."""
    keep_volume_error: float = 0.06
    """Error of the volume up to which a scan is kept, as a share of the volume."""
    time_limit: float = 900.0
    """Seconds that one scan may take before it is refused."""
    memory_limit: float = 0.0
    """GB that one scan may take before it is refused; 0 for three quarters of what the machine has,
    or of what a container or a job of a batch system may take."""
    scheduler: str = "local"
    """Where scans are scored: local, dask:ADDRESS (of a scheduler that runs), or slurm (queue and
    memory from ~/.config/dask/jobqueue.yaml). Scans and outputs have to be shared."""
    nprocs: int = 1
    """Scans scored at a time on this machine, as far as there are cores and memory for them."""
    slurm_jobs: int = 10
    """Jobs that SLURM is asked for, one worker each."""
    json: bool = False
    """Print each record as a line of JSON instead of words."""


@dataclasses.dataclass(frozen=True)
class Score(Common):
    """Scores T1-weighted scans: maps, records and reports, one folder for each."""

    scans: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SCAN [SCAN ...]")
    ] = ()
    """NIfTI, MGZ, MINC, Analyze or NRRD files, folders of them, or a folder or archive of DICOM."""
    output_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("qc_jax_output")
    """Folder for the outputs."""


@dataclasses.dataclass(frozen=True)
class Study(Common):
    """Scores every anatomical scan of a BIDS folder (participant), then the study (group)."""

    bids_dir: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="BIDS_DIR", help_behavior_hint="")
    ] = Path()
    """Holds sub-*/[ses-*/]anat/*_T1w.nii[.gz]; the group level takes participants.tsv from it."""
    output_dir: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUTPUT_DIR", help_behavior_hint="")
    ] = Path()
    """Folder for the outputs."""
    analysis_level: tyro.conf.Positional[Literal["participant", "group"]] = "participant"
    """participant: every scan; group: table and report of all scans in OUTPUT_DIR."""
    participant_label: tuple[str, ...] = ()
    """Subjects, with or without sub-; all by default."""
    session_id: tuple[str, ...] = ()
    """Sessions, with or without ses-; all by default."""
    suffix: tuple[str, ...] = ()
    """Contrasts to score, as BIDS names them: T1w (the default), T2w, FLAIR, ...; at the group
    level those to summarise, all by default."""
    run: tuple[str, ...] = ()
    """Runs to score, by their number; all by default."""
    acquisition: tuple[str, ...] = ()
    """Acquisitions (acq-) to score; all by default."""
    reconstruction: tuple[str, ...] = ()
    """Reconstructions (rec-) to score; all by default."""
    bids_filter_file: str = ""
    """JSON that chooses by any entity, as fMRIPrep takes it: {"t1w": {"session": "01"}}."""
    may_lose: float | None = None
    """Group level: drop at most this share of the scored scans, the worst first and none that is
    kept, in the place of --drop-dice."""
    ratings: tuple[Path, ...] = ()
    """Group level: files or folders of ratings that the pages have saved, besides those in
    OUTPUT_DIR/ratings; the report says how far people and tool agree."""
    iqm_dir: str = ""
    """Group level: also write the scores as MRIQC writes its metrics, a JSON file for each scan in
    this folder."""
    scans_dir: str = ""
    """Group level: also write the scans.tsv of each session, as in BIDS_DIR, with columns for what
    was found, and the scans.json that describes them, into this folder; copy them over BIDS_DIR if
    you want them there."""


@dataclasses.dataclass(frozen=True)
class Preview:
    """Shows every artefact at growing severity on a scan: a PNG and an HTML page."""

    scan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCAN")]
    """A scan, as for score."""
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


def run(arguments: list[str]) -> int:
    """Does what the command line says; returns the exit code.

    Raises:
      QcJaxError: of any kind.
    """
    from qc_jax import watch

    commands = {"score": Score, "watch": watch.Watch, "preview": Preview, "models": Models}
    work: dict[type, Callable[[Any], int]]
    work = {
        Score: _score,
        Study: _study,
        Preview: _preview,
        Models: _models,
        watch.Watch: watch.run,
    }
    kind = commands.get(arguments[0], Study)
    rest = arguments if kind is Study else arguments[1:]
    program = "qc-jax" if kind is Study else f"qc-jax {arguments[0]}"
    helping = bool({"-h", "--help"} & set(rest))
    if kind is Study and sum(not a.startswith("-") for a in arguments) < 3 and not helping:
        raise ConfigError(
            f"{' '.join(arguments)}: give BIDS_DIR OUTPUT_DIR and participant or group, or one of "
            "the commands score, watch, preview and models (see qc-jax --help)"
        )
    if helping:
        rest = ["--help"]  # else what was given already is missing in it
    elif kind is not Models:
        _refuse_without_temporary_folder()
    return work[kind](tyro.cli(kind, args=rest, prog=program))


def _refuse_without_temporary_folder() -> None:
    """What draws the reports needs one, and says so in many lines.

    Raises:
      ConfigError: there is none, as in a container with nothing that can be written.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise ConfigError(
            "no folder for temporary files can be written; give a container one (--tmpfs /tmp), or "
            "set TMPDIR to one"
        ) from None


def _score(arguments: Score) -> int:
    if not arguments.scans:
        raise ConfigError("no scan is given; name files or folders: qc-jax score SCAN...")
    _say_what_is_missing(arguments.scans)
    with _begun(arguments) as begun:
        from qc_jax.scoring import folders, jobs

        plain = jobs.plain_jobs(folders.scans_of(arguments.scans))
        return score_plain(plain, arguments, arguments.output_dir, begun)


def score_plain(plain: "Sequence[Job]", arguments: Common, output: Path, begun: Any = None) -> int:
    """Scores plain scans, adds them to the table of all, and says where the reports are."""
    from qc_jax.scoring import group
    from qc_jax.scoring.record_fields import SCORED

    rule = _rule(arguments)
    records = progress.score_jobs(plain, output, arguments, rule, begun)
    with group.alone(output):
        reports = group.update_group(output, records, rule)
    if len(records) == 1 and records[0]["status"] == SCORED:
        reports.insert(0, output / f"{records[0]['name']}.html")
    for report in reports:
        note(f"report: {report}")
    return _code(records)


def _say_what_is_missing(scans: Sequence[Path]) -> None:
    """Before anything that takes seconds is imported.

    Raises:
      ConfigError: nothing of it is there.
    """
    missing = [path for path in scans if not path.exists()]
    if not missing:
        return
    from qc_jax.missing import why_missing

    if len(missing) == len(scans):
        raise ConfigError("; ".join(map(why_missing, missing[:10])))
    for path in missing:
        note(f"warning: {why_missing(path)}; the others are scored")


def _study(arguments: Study) -> int:
    if arguments.bids_dir.resolve() == arguments.output_dir.resolve():
        raise OutputError(
            f"{arguments.output_dir} is the BIDS folder itself, where nothing may be written; name "
            "another folder for the output"
        )
    if arguments.analysis_level == "group":
        return _group(arguments)
    if arguments.may_lose is not None:
        raise ConfigError("--may-lose is for the group level, which knows all scans of the study")
    with _begun(arguments) as begun:
        records = progress.score_jobs(
            _jobs_of(arguments), arguments.output_dir, arguments, _rule(arguments), begun
        )
    note(
        f"reports: {arguments.output_dir}/*.html; for the whole study: "
        f"qc-jax {arguments.bids_dir} {arguments.output_dir} group"
    )
    return _code(records)


def _jobs_of(arguments: Study):
    """The scans of the BIDS folder that are wanted; says what is left out."""
    from qc_jax.scoring import bids

    wanted = bids.selection(
        arguments.participant_label,
        arguments.session_id,
        arguments.suffix or ("T1w",),
        {"run": arguments.run, "acq": arguments.acquisition, "rec": arguments.reconstruction},
        Path(arguments.bids_filter_file) if arguments.bids_filter_file else None,
    )
    listing = bids.list_scans(arguments.bids_dir, wanted)
    for text in listing.notes:
        note(text)
    return listing.jobs


def _group(arguments: Study) -> int:
    from qc_jax.scoring import decision, group, iqms, ownership, record_fields, scans_tables

    rule = _rule(arguments)
    output, folder, tables = arguments.output_dir, arguments.iqm_dir, arguments.scans_dir
    ownership.check_folder(output)
    records = group.chosen(
        group.read_records(output),
        arguments.participant_label,
        arguments.session_id,
        arguments.suffix,
    )
    participants = group.read_participants(arguments.bids_dir)
    if arguments.may_lose is not None:
        scored = record_fields.scored_of(records)
        dices = [made["predicted_dice"] for made in scored if "predicted_dice" in made]
        rule = decision.losing_at_most(arguments.may_lose, dices, rule)
    if folder:
        iqms.check(Path(folder), output, records)
    if tables:
        scans_tables.check(Path(tables), records)
    with group.alone(output):
        reports = group.write_group(output, records, participants, rule, arguments.ratings)
    said = group.warnings(records, participants)
    if tables:
        said += scans_tables.write(Path(tables), arguments.bids_dir, records, rule)
    for text in said:
        note(f"warning: {text}")
    for report in reports:
        note(f"report: {report}")
    if folder:
        note(f"metrics of {iqms.write_iqms(Path(folder), records)} scans: {folder}")
    if tables:
        note(f"tables of scans: {tables}; to take them over: cp -r {tables}/. {arguments.bids_dir}")
    return 0


def _begun(arguments: Common) -> contextlib.AbstractContextManager[Any]:
    """The scoring process, which loads while this one does; None for scans scored elsewhere."""
    here = arguments.scheduler == "local" and arguments.nprocs == 1
    return process.ahead(arguments.model) if here else contextlib.nullcontext()


def _rule(arguments: Common) -> "Rule":
    from qc_jax.scoring.decision import Rule

    return Rule(arguments.keep_dice, arguments.drop_dice, arguments.keep_volume_error)


def _code(records: "Sequence[Record]") -> int:
    return 1 if any(made["status"] == "refused" for made in records) else 0


def _preview(arguments: Preview) -> int:
    _say_what_is_missing([arguments.scan])
    if not 0.5 <= arguments.voxel_size <= 10:
        raise ConfigError(f"--voxel-size {arguments.voxel_size:g}: 0.5 to 10 mm are meant")
    if not 0 <= arguments.seed < 2**32:
        raise ConfigError(f"--seed {arguments.seed}: 0 to {2**32 - 1} is meant")
    note(f"{arguments.scan}: every artefact at five severities")
    from qc_jax.scoring import preview

    page = preview.write(
        arguments.scan,
        arguments.output_dir,
        arguments.seed,
        arguments.voxel_size,
        lambda source: note(f"  {source}"),
    )
    note(f"preview: {page}")
    return 0


def _models(arguments: Models) -> int:
    from qc_jax.models import load_model

    for name in arguments.models or (None,):
        model = load_model(name)
        known = model.calibration
        say(f"{model.path}\n  SHA-256 {model.sha256}")
        say(f"  sources: {', '.join(model.description.sources)}")
        say(f"  grid: {model.description.voxel_size:g} mm")
        for key, value in model.training.items():
            say(f"  {key}: {value}")
        if known:
            say(
                f"  cause right in {known['cause']['accuracy']:.0%}, Dice predicted to "
                f"{known['dice']['mean_absolute_error']:.3f} "
                f"(rank correlation {known['dice']['spearman']:.2f})"
            )
    return 0
