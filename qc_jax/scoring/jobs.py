"""One scan to score and where its files go: names that depend on the scan alone.

A name is that of the scan, whichever others are scored in the same call, before or after it.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from qc_jax.data import nifti

_LONGEST = 160
"""Bytes of a name, so that all that is put behind it still makes a file name (255 bytes)."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One scan to score and where its files go.

    Attributes:
      scan: path of the file.
      folder: of its outputs, within the output folder.
      prefix: of its maps' names.
      name: of the record and of the report, unique in the output folder.
      entities: subject, session, ...; empty for a plain file.
      suffix: contrast, as BIDS names it; its scans share a group table.
    """

    scan: Path
    folder: Path
    prefix: str
    name: str
    entities: dict[str, str]
    suffix: str = "T1w"

    def called(self, name: str) -> "Job":
        """The same scan, a plain file, with outputs of another name."""
        return dataclasses.replace(self, folder=Path(name), prefix=name, name=name)


class JobFields(TypedDict):
    """A `Job` in JSON."""

    scan: str
    folder: str
    prefix: str
    name: str
    entities: dict[str, str]
    suffix: str


def to_json(job: Job) -> JobFields:
    """With paths as text."""
    return {
        "scan": str(job.scan),
        "folder": str(job.folder),
        "prefix": job.prefix,
        "name": job.name,
        "entities": job.entities,
        "suffix": job.suffix,
    }


def from_json(fields: JobFields) -> Job:
    """From what `to_json` makes of it."""
    scan, folder = Path(fields["scan"]), Path(fields["folder"])
    return Job(scan, folder, fields["prefix"], fields["name"], fields["entities"], fields["suffix"])


def plain_jobs(scans: Sequence[Path]) -> list[Job]:
    """One job for each file, whatever it is called; the same file twice counts once.

    The outputs of a file go to a folder of its own name with a part of the hash of its path, since
    every scanner calls its scans alike.
    """
    jobs: dict[Path, Job] = {}
    for path in scans:
        place = path.parent.resolve() / path.name  # of a link that is a file its own
        if place not in jobs:
            job = Job(path, Path(), "", "", {})
            jobs[place] = job.called(f"{plain_stem(path)}_{digest(place)}".lstrip("_"))
    return list(jobs.values())


def plain_stem(path: Path) -> str:
    """What the name of a plain scan begins with: of its file, where it is fit for a file name."""
    return fitting(re.sub(r"[^A-Za-z0-9_.-]", "_", nifti.stem(path)).lstrip(".-"))


def told_apart(jobs: Sequence[Job], root: Path) -> list[Job]:
    """Jobs whose names differ in more than case: of those that did not, all but the first have the
    hash of the path in them.  The first is compressed, or the first by its path.

    Args:
      jobs: all that there are below `root`, whether wanted or not.
      root: paths are taken from here on, so that a copy elsewhere has the same names.
    """

    def order(job: Job) -> tuple[bool, int, str]:
        path = job.scan.relative_to(root)
        return not path.name.endswith(".nii.gz"), len(path.parts), path.as_posix()

    first: dict[str, Job] = {}
    for job in sorted(jobs, key=order):
        first.setdefault(job.name.lower(), job)
    return [
        job if first[job.name.lower()] is job else marked(job, job.scan.relative_to(root))
        for job in jobs
    ]


def marked(job: Job, path: Path) -> Job:
    """A job whose names end in the hash of a path."""
    end = digest(path)
    return dataclasses.replace(job, name=f"{job.name}_{end}", prefix=f"{job.prefix}_{end}")


def fitting(name: str) -> str:
    """A name that leaves room for what is put behind it; a long one is cut, and told by a hash."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST:
        return name
    end = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: _LONGEST - 9].decode('utf-8', 'ignore')}_{end}"


def digest(path: Path) -> str:
    """A part of the hash of a path, as it is written."""
    return hashlib.sha256(os.fsencode(path.as_posix())).hexdigest()[:8]
