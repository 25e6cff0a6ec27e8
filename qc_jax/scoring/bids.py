"""Which scans to score: those of a BIDS folder with the chosen suffixes, or plain files."""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from qc_jax.data import nifti
from qc_jax.errors import ConfigError
from qc_jax.scoring.outputs import Job

_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")


def bids_jobs(
    folder: Path,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    suffixes: Sequence[str] = ("T1w",),
) -> list[Job]:
    """Every anatomical scan of a BIDS folder with one of these suffixes, derivatives left out.

    Args:
      folder: holds `sub-*/[ses-*/]anat/*_<suffix>.nii[.gz]`.
      participants: labels with or without `sub-`; all by default.
      sessions: labels with or without `ses-`; all by default.
      suffixes: contrasts, as BIDS names them.

    Raises:
      ConfigError: no folder, no such participant, or no scan.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name a BIDS folder")
    subjects = sorted(path.name for path in folder.glob("sub-*") if path.is_dir())
    wanted = [f"sub-{label.removeprefix('sub-')}" for label in participants] or subjects
    unknown = [name for name in wanted if name not in subjects]
    if unknown:
        raise ConfigError(
            f"{folder} holds no {', '.join(unknown)}; there are {', '.join(subjects[:20])}"
            + (f" and {len(subjects) - 20} others" if len(subjects) > 20 else "")
        )
    chosen = {f"ses-{label.removeprefix('ses-')}" for label in sessions}
    jobs = []
    for name in wanted:
        for path in sorted(
            [*(folder / name).glob("anat/*"), *(folder / name).glob("ses-*/anat/*")]
        ):
            suffix = nifti.stem(path).rpartition("_")[2]
            if not nifti.is_nifti(path) or suffix not in suffixes:
                continue
            if chosen and not chosen & set(path.relative_to(folder).parts):
                continue
            jobs.append(_bids_job(folder, path, suffix))
    if not jobs:
        which = "|".join(suffixes)
        raise ConfigError(
            f"{folder} holds no sub-*/[ses-*/]anat/*_{which}.nii[.gz]"
            + (" of the chosen participants and sessions" if participants or sessions else "")
            + "; is it a BIDS folder?"
        )
    return _told_apart(jobs)


def _bids_job(folder: Path, path: Path, suffix: str) -> Job:
    name = nifti.stem(path)
    # Two contrasts of one session must not write the same maps.
    prefix = name.removesuffix(f"_{suffix}") + ("" if suffix == "T1w" else f"_mod-{suffix}")
    entities = dict(_ENTITY.findall(name))
    return Job(path, path.parent.relative_to(folder), prefix, name, entities, suffix)


def plain_jobs(scans: Sequence[Path]) -> list[Job]:
    """One job for each file, whatever it is called; the same file twice counts once.

    Outputs go to a folder named after the file; where names collide, or hold characters that a file
    name had better not, a part of the path's hash makes them unique.
    """
    jobs = []
    for path in dict.fromkeys(scans):
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", nifti.stem(path)).lstrip(".-")[:100]
        if name != nifti.stem(path):
            name = f"{name}_{_digest(path)}".lstrip("_")
        jobs.append(Job(path, Path(name), name, name, {}))
    return [dataclasses.replace(job, folder=Path(job.name)) for job in _told_apart(jobs)]


def _told_apart(jobs: Sequence[Job]) -> list[Job]:
    """Jobs whose names differ in more than case; where they did not, by the path's hash."""
    count = collections.Counter(job.name.lower() for job in jobs)
    unique = []
    for job in jobs:
        if count[job.name.lower()] > 1:
            end = _digest(job.scan)
            job = dataclasses.replace(job, name=f"{job.name}_{end}", prefix=f"{job.prefix}_{end}")
        unique.append(job)
    return unique


def _digest(path: Path) -> str:
    absolute = bytes(path.absolute().as_posix(), "utf-8", "surrogateescape")
    return hashlib.sha256(absolute).hexdigest()[:8]
