"""Which scans to score: T1-weighted ones of a BIDS folder, or plain files."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from qc_jax.data import nifti
from qc_jax.errors import ConfigError
from qc_jax.scoring.outputs import Job

_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")


def bids_jobs(
    folder: Path, participants: Sequence[str] = (), sessions: Sequence[str] = ()
) -> list[Job]:
    """Every T1-weighted scan of a BIDS folder, derivatives left out.

    Args:
      folder: holds `sub-*/[ses-*/]anat/*_T1w.nii[.gz]`.
      participants: labels with or without `sub-`; all by default.
      sessions: labels with or without `ses-`; all by default.

    Raises:
      ConfigError: no folder, no such participant, or no scan.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name a BIDS folder")
    subjects = {path.name: path for path in sorted(folder.glob("sub-*")) if path.is_dir()}
    wanted = [f"sub-{label.removeprefix('sub-')}" for label in participants] or list(subjects)
    unknown = [name for name in wanted if name not in subjects]
    if unknown:
        raise ConfigError(
            f"{folder} holds no {', '.join(unknown)}; there are {', '.join(subjects)}"
        )
    chosen = {f"ses-{label.removeprefix('ses-')}" for label in sessions}
    jobs = []
    for name in wanted:
        found = [*subjects[name].glob("anat/*"), *subjects[name].glob("ses-*/anat/*")]
        for path in sorted(found):
            if not nifti.is_nifti(path) or not nifti.stem(path).endswith("_T1w"):
                continue
            if chosen and not chosen & set(path.relative_to(folder).parts):
                continue
            jobs.append(_bids_job(path, path.parent.relative_to(folder)))
    if not jobs:
        raise ConfigError(
            f"{folder} holds no sub-*/[ses-*/]anat/*_T1w.nii[.gz]"
            + (" of the chosen participants and sessions" if participants or sessions else "")
            + "; is it a BIDS folder?"
        )
    return jobs


def _bids_job(path: Path, folder: Path) -> Job:
    stem = nifti.stem(path)
    return Job(path, folder, stem.removesuffix("_T1w"), stem, dict(_ENTITY.findall(stem)))


def plain_jobs(scans: Sequence[Path]) -> list[Job]:
    """One job for each file, whatever it is called; the same file twice counts once.

    Outputs go to a folder named after the file; where names collide, or hold characters that a file
    name had better not, a part of the path's hash makes them unique.
    """
    paths = list(dict.fromkeys(scans))
    safe = [re.sub(r"[^A-Za-z0-9_.-]", "_", nifti.stem(path)).lstrip(".-")[:100] for path in paths]
    lowered = [name.lower() for name in safe]
    jobs = []
    for path, name in zip(paths, safe, strict=True):
        if name != nifti.stem(path) or lowered.count(name.lower()) > 1:
            digest = hashlib.sha256(bytes(path.absolute().as_posix(), "utf-8", "surrogateescape"))
            name = f"{name}_{digest.hexdigest()[:8]}".lstrip("_")
        jobs.append(Job(path, Path(name), name, name, {}))
    return jobs
