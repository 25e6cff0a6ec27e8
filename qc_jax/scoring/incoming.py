"""Scans that arrive in a folder: which of them are whole, and have no record yet.

Copying takes time, and nobody says when it is over: a scan is whole when it has not changed between
two looks, and is as large as its header says.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib

from qc_jax.errors import ConfigError
from qc_jax.scoring import folders, record
from qc_jax.scoring.jobs import Job

Stamp = tuple[int, ...]
"""Size and time of change, of a folder of DICOM files of all of them."""


def look(folder: Path) -> dict[Path, Stamp]:
    """The scans in a folder, at any depth, with their stamps; see `folders.scans_of`.

    Raises:
      ConfigError: it is a BIDS data set, or is not there.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name the one that scans arrive in")
    if not any(folder.iterdir()):
        return {}
    try:
        scans = folders.scans_of([folder])
    except ConfigError:
        if (folder / "dataset_description.json").is_file():
            raise
        return {}  # there is no scan yet
    return {scan: stamp for scan in scans if (stamp := _stamp(scan))}


def whole(now: Mapping[Path, Stamp], before: Mapping[Path, Stamp]) -> list[Path]:
    """The scans that have arrived, by two looks."""
    still = [scan for scan, stamp in now.items() if before.get(scan) == stamp]
    return [scan for scan in still if _as_large_as_its_header_says(scan)]


def without_record(jobs: Sequence[Job], output: Path) -> list[Job]:
    """Those that have no record of what is in the file now.  A refusal holds here, whatever it was
    for, or one bad scan would be tried for ever."""
    return [job for job in jobs if not _has_record(job, output)]


def _has_record(job: Job, output: Path) -> bool:
    made = record.read(record.record_path(output, job))
    return made is not None and list(record.stamp_of(job.scan) or ()) == made.get("stamp")


def _stamp(scan: Path) -> Stamp | None:
    """None where it has gone again."""
    try:
        files = list(os.scandir(scan)) if scan.is_dir() else [scan]
        found = [file.stat() for file in files]
    except OSError:
        return None
    sizes, times = [s.st_size for s in found], [s.st_mtime_ns for s in found]
    return len(found), sum(sizes), max(times, default=0)


def _as_large_as_its_header_says(scan: Path) -> bool:
    """False for an uncompressed file that lacks voxels; the others are read to their end anyway."""
    try:
        voxels = nib.load(scan).dataobj  # type: ignore[attr-defined]
        needed = voxels.offset + voxels.dtype.itemsize * math.prod(voxels.shape)
    except Exception:  # another format, or a scan that will be refused with a sentence
        return True
    return scan.suffix == ".gz" or scan.stat().st_size >= needed
