"""Which scans of a BIDS folder are scored, which are not, and why: none is left out in silence."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pathspec

from qc_jax.data import nifti
from qc_jax.errors import ConfigError, one_line, some_of
from qc_jax.scoring.jobs import Job, fitting, marked, told_apart
from qc_jax.scoring.participants import decoded

_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")
_NO_MAGNITUDE = ("phase", "real", "imag")
_OTHER_FORMATS = {
    *(".mgz", ".mgh", ".mnc", ".nrrd", ".nhdr", ".mha", ".hdr", ".img", ".dcm", ".ima", ".par"),
    *(".bz2", ".xz", ".zst", ".zip", ".part"),
}
_SHORT = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "reconstruction": "rec",
    "ceagent": "ce",
    "direction": "dir",
    "inversion": "inv",
    "modality": "mod",
}
"""Entities by the names that BIDS filter files have for them."""
_KNOWN = (
    *_SHORT,
    *_SHORT.values(),
    *("run", "echo", "part", "flip", "mt", "space", "desc", "task", "proc", "tracer", "sample"),
    *("datatype", "suffix", "extension", "chunk", "split"),
)
_ANY = ("*", "Query.ANY", "Query.OPTIONAL")


@dataclasses.dataclass(frozen=True)
class Selection:
    """Scans that are wanted.

    Attributes:
      participants: labels with or without `sub-`; all by default.
      sessions: labels with or without `ses-`; all by default.
      suffixes: contrasts, as BIDS names them.
      entities: values by the short name of an entity (`run`, `acq`, ...), None for scans without
        it; numbers are compared as numbers.
    """

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()
    suffixes: Sequence[str] = ("T1w",)
    entities: Mapping[str, Sequence[str | None]] = dataclasses.field(default_factory=dict)


class Listing(NamedTuple):
    """What a BIDS folder holds.

    Attributes:
      jobs: scans to score.
      notes: a sentence for every kind of scan that is not, and for subjects without any.
    """

    jobs: list[Job]
    notes: list[str]


def bids_jobs(
    folder: Path,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    suffixes: Sequence[str] = ("T1w",),
) -> list[Job]:
    """The scans of `list_scans`, without its notes."""
    return list_scans(folder, Selection(participants, sessions, suffixes)).jobs


def list_scans(folder: Path, wanted: Selection) -> Listing:
    """Every anatomical magnitude image of a BIDS folder that is wanted, derivatives left out.

    Args:
      folder: holds `sub-*/[ses-*/]anat/*_<suffix>.nii[.gz]`.
      wanted: which of them.

    Raises:
      ConfigError: no folder, no such participant, or no scan.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name a BIDS folder")
    ignored, left = _bidsignore(folder), _LeftOut()
    subjects = _subjects(folder, left)
    names = [f"sub-{label.strip().removeprefix('sub-')}" for label in wanted.participants]
    unknown = sorted({name for name in names if name not in subjects})
    if unknown:
        raise ConfigError(f"{folder} holds no {', '.join(unknown)}; there are {some_of(subjects)}")
    first = {name.lower(): name for name in sorted(subjects, reverse=True)}
    jobs = []
    for name in dict.fromkeys(names or subjects):
        every = [_job(folder, name, path) for path in _images(subjects[name], left)]
        every = told_apart([_of_its_folder(job, folder, first) for job in every], folder)
        suitable = [job for job in every if job.suffix in wanted.suffixes]
        chosen = []
        for job in suitable:
            place = job.scan.relative_to(folder).as_posix()
            if job.entities.get("part") in _NO_MAGNITUDE:
                left.no_magnitude.append(place)
            elif ignored is not None and ignored.match_file(place):
                left.ignored.append(place)
            elif not _is_where_it_says(job):
                left.misplaced.append(place)
            elif _matches(job, wanted):
                chosen.append(job)
        left.odd += [
            job.scan.name
            for job in every
            if job not in suitable and re.search("_t1w?(_|$)", job.name, re.IGNORECASE)
        ]
        if not suitable:
            left.subjects.append(_what_else(subjects[name], every))
        else:
            left.sessions += _empty_sessions(subjects[name], every, suitable)
        jobs += chosen
    notes = left.notes(wanted.suffixes) + _unused(wanted, jobs)
    if not jobs:
        which = "|".join(wanted.suffixes)
        restricted = wanted.participants or wanted.sessions or wanted.entities
        raise ConfigError(
            f"{folder} holds no sub-*/[ses-*/]anat/*_{which}.nii[.gz]"
            + (" that fits what was chosen" if restricted else "")
            + "; is it a BIDS folder?"
            + "".join(f" {note[0].upper()}{note[1:]}." for note in notes)
        )
    return Listing(jobs, notes)


def selection(
    participants: Sequence[str],
    sessions: Sequence[str],
    suffixes: Sequence[str],
    entities: Mapping[str, Sequence[str]],
    filter_file: Path | None = None,
) -> Selection:
    """What is wanted by options and by a filter file together.

    Args:
      participants, sessions, suffixes: see `Selection`.
      entities: values by the short name of an entity; none for all.
      filter_file: as fMRIPrep takes it, `{"t1w": {"session": "01", "acquisition": null}}`.

    Raises:
      ConfigError: the file cannot be read, or asks for what no anatomical image has.
    """
    chosen: dict[str, Sequence[str | None]] = {n: list(v) for n, v in entities.items() if v}
    if filter_file is not None:
        chosen |= _read_filter(filter_file, suffixes)
    return Selection(participants, sessions, suffixes, chosen)


def _read_filter(path: Path, suffixes: Sequence[str]) -> dict[str, list[str | None]]:
    """Values by the short name of an entity."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        queries: dict[str, dict[str, Any]]
        queries = {name.lower(): dict(query) for name, query in content.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} is no BIDS filter file ({one_line(error)})") from error
    asked = [suffix for suffix in suffixes if suffix.lower() in queries]  # all, where none is
    entities: dict[str, list[str | None]] = {}
    for suffix in asked:
        for name, value in queries[suffix.lower()].items():
            values = value if isinstance(value, list) else [value]
            if name not in _KNOWN:
                raise ConfigError(f"{path}: {name} is no entity; there are {', '.join(_KNOWN)}")
            expected = {"datatype": "anat", "suffix": suffix}.get(name)
            if not all(v is None or isinstance(v, str | int) for v in values):
                raise ConfigError(f"{path}: {name} is {value!r}; texts, numbers or null are meant")
            if expected and expected not in values:
                raise ConfigError(f"{path}: {name} {value!r} is not that of {suffix} images")
            if not expected and name != "extension" and not set(values) & set(_ANY):
                texts = [None if v in (None, "Query.NONE") else str(v) for v in values]
                entities.setdefault(_SHORT.get(name, name), []).extend(texts)
    return entities


def _subjects(folder: Path, left: "_LeftOut") -> dict[str, Path]:
    """Folders of subjects by name; what looks like one and is none, and loose scans, are noted."""
    subjects = {}
    for entry in _entries(folder):
        if entry.name.startswith("sub-") and entry.is_dir():
            subjects[entry.name] = Path(entry.path)
        elif re.match("(?i)sub[-_ ]?[a-z0-9]+$", entry.name) or nifti.is_nifti(Path(entry.path)):
            left.strange.append(entry.name)
    return subjects


# -- One subject -------------------------------------------------------------------------------


def _entries(folder: Path, start: str = "", folders: bool = False) -> list[os.DirEntry]:
    """What lies in a folder, by name; nothing where it is none."""
    try:
        with os.scandir(folder) as found:
            chosen = [e for e in found if e.name.startswith(start) and (not folders or e.is_dir())]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror})") from error
    return sorted(chosen, key=lambda entry: entry.name)


def _images(subject: Path, left: "_LeftOut") -> Iterator[Path]:
    """NIfTI files in the `anat` folders of a subject; what else could be a scan is noted."""
    sessions = [Path(entry.path) for entry in _entries(subject, "ses-", folders=True)]
    for folder in (subject, *sessions):
        for entry in _entries(folder / "anat"):
            path = Path(entry.path)
            if entry.name.startswith("."):
                left.hidden.append(entry.name)
            elif nifti.is_nifti(path):
                yield path
            elif path.suffix.lower() in _OTHER_FORMATS:
                left.formats.append(entry.name)


def _job(folder: Path, subject: str, path: Path) -> Job:
    name = nifti.stem(path)
    suffix = name.rpartition("_")[2]
    # Two contrasts of one session must not write the same maps.
    prefix = name.removesuffix(f"_{suffix}") + ("" if suffix == "T1w" else f"_mod-{suffix}")
    entities = {"sub": subject.removeprefix("sub-")} | dict(_ENTITY.findall(name))
    place = path.parent.relative_to(folder)
    return Job(path, place, fitting(prefix), fitting(name), entities, suffix)


def _of_its_folder(job: Job, folder: Path, first: Mapping[str, str]) -> Job:
    """A job with a hash in its names where another subject may have a scan of that name."""
    subject = job.folder.parts[0]
    own = job.name.startswith(f"{subject}_") and first[subject.lower()] == subject
    return job if own else marked(job, job.scan.relative_to(folder))


def _is_where_it_says(job: Job) -> bool:
    """Whether subject and session of a file's name are those of its folders."""
    name, places = job.scan.name, job.folder.parts
    said = re.findall(r"(?:^|_)((?:sub|ses)-[a-zA-Z0-9+]+)(?=_|$)", name)
    return all(entity in places for entity in said if entity[:4] in {p[:4] for p in places})


def _matches(job: Job, wanted: Selection) -> bool:
    sessions = {f"ses-{label.strip().removeprefix('ses-')}" for label in wanted.sessions}
    if sessions and not sessions & set(job.folder.parts):
        return False
    return all(
        any(_same(job.entities.get(name), value) for value in values)
        for name, values in wanted.entities.items()
    )


def _same(found: str | None, asked: str | None) -> bool:
    if found is None or asked is None:
        return found is asked
    asked = asked.rpartition("-")[2]
    return found == asked or (found.isdigit() and asked.isdigit() and int(found) == int(asked))


def _bidsignore(folder: Path) -> pathspec.GitIgnoreSpec | None:
    path = folder / ".bidsignore"
    if not path.exists():
        return None
    try:
        return pathspec.GitIgnoreSpec.from_lines(decoded(path.read_bytes())[0].splitlines())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); mend or remove it") from error


# -- What is left out --------------------------------------------------------------------------


@dataclasses.dataclass
class _LeftOut:
    """Names of what is not scored, by the reason."""

    subjects: list[str] = dataclasses.field(default_factory=list)
    no_magnitude: list[str] = dataclasses.field(default_factory=list)
    ignored: list[str] = dataclasses.field(default_factory=list)
    hidden: list[str] = dataclasses.field(default_factory=list)
    formats: list[str] = dataclasses.field(default_factory=list)
    sessions: list[str] = dataclasses.field(default_factory=list)
    misplaced: list[str] = dataclasses.field(default_factory=list)
    odd: list[str] = dataclasses.field(default_factory=list)
    strange: list[str] = dataclasses.field(default_factory=list)

    def notes(self, suffixes: Sequence[str]) -> list[str]:
        """A sentence for each reason."""
        which = " or ".join(suffixes)
        texts = (
            (self.subjects, f"{{}} without a {which} image in anat/: {{}}"),
            (self.no_magnitude, "{} left out, being phase, real or imaginary parts: {}"),
            (self.ignored, "{} left out by .bidsignore: {}"),
            (self.formats, "{} left out, being no NIfTI (convert them): {}"),
            (self.hidden, "{} left out, being hidden: {}"),
            (self.sessions, f"{{}} without a {which} image, of subjects with one: {{}}"),
            (self.misplaced, "{} left out, in the folder of another subject or session: {}"),
            (self.odd, "{} left out, called like a T1w image but of another suffix: {}"),
            (self.strange, "{} left out, in no folder sub-*: {}"),
        )
        words = (
            *("subject", "image", "image", "file", "file"),
            *("session", "image", "image", "thing"),
        )
        return [
            text.format(f"{len(names)} {word}{'s' if len(names) > 1 else ''}", some_of(names))
            for (names, text), word in zip(texts, words, strict=True)
            if names
        ]


def _what_else(subject: Path, images: Sequence[Job]) -> str:
    """A subject without a wanted image, and what would take what it has."""
    magnitudes = [job for job in images if job.entities.get("part") not in _NO_MAGNITUDE]
    suffixes = sorted({job.suffix for job in magnitudes})
    if suffixes:
        return f"{subject.name} (--suffix {' '.join(suffixes)} would take what it has)"
    elsewhere = [
        path.relative_to(subject).as_posix()
        for path in sorted(subject.rglob("*_T1w.nii*"))
        if nifti.is_nifti(path) and not path.name.startswith(".")
    ]
    if elsewhere:
        return f"{subject.name} ({elsewhere[0]} lies outside of anat/)"
    types = {e.name for e in _entries(subject, folders=True)}
    types |= {
        e.name
        for session in _entries(subject, "ses-", folders=True)
        for e in _entries(Path(session.path), folders=True)
    }
    types = {name for name in types if not name.startswith(("ses-", "."))}
    return f"{subject.name} ({', '.join(sorted(types)) or 'empty'})"


def _empty_sessions(subject: Path, images: Sequence[Job], suitable: Sequence[Job]) -> Iterator[str]:
    """Sessions of a subject without a wanted image, and what they have."""
    for entry in _entries(subject, folders=True):
        if not entry.name.lower().startswith("ses-"):
            continue
        if not any(entry.name in job.folder.parts for job in suitable):
            inside = [job for job in images if entry.name in job.folder.parts]
            what = _what_else(Path(entry.path), inside)
            yield f"{subject.name}/{what}"


def _unused(wanted: Selection, jobs: Sequence[Job]) -> list[str]:
    """What was chosen and fits no image, where something else does."""
    texts = []
    for name, values in wanted.entities.items():
        for value in values:
            if not any(_same(job.entities.get(name), value) for job in jobs):
                texts.append(f"no image has {name} {value}")
    for label in wanted.sessions:
        name = f"ses-{label.strip().removeprefix('ses-')}"
        if not any(name in job.folder.parts for job in jobs):
            texts.append(f"no image is of {name}")
    texts += [
        f"no image is a {suffix}"
        for suffix in wanted.suffixes
        if not any(job.suffix == suffix for job in jobs)
    ]
    return texts if jobs else []
