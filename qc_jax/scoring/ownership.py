"""Whose files there are in a folder: nothing that this tool did not make is ever replaced.

A folder is another's by its `dataset_description.json`; a file is ours by what is in it.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
from nibabel.wrapstruct import WrapStructError

from qc_jax.data import nifti
from qc_jax.errors import OutputError
from qc_jax.scoring import acquisition

Kind = Literal[
    "map",
    "sidecar",
    "record",
    "report",
    "volumes",
    "table",
    "columns",
    "iqms",
    "picture",
    "scans",
    "scans columns",
]
"""What a file holds: of each kind only files of the same kind are replaced."""

TOOL = "qc_jax"
ASSETS = "qc_jax_assets"
"""Folder of what all reports share."""
RATINGS = "ratings"
"""Folder of an output folder: where ratings are put to be read."""
THUMBNAILS = f"{ASSETS}/thumbnails"
"""Folder of a small picture of each scan, by its name."""
_DESCRIPTION = "dataset_description.json"
_ENOUGH = 2**20
"""Bytes from the start of a file that tell what it is."""


def check_folder(folder: Path) -> None:
    """Raises OutputError for a file, and for a folder that belongs to another tool or to raw data:
    by its description, or within the folder of one subject of a BIDS data set."""
    path = folder / _DESCRIPTION
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the output")
    if path.exists() or path.is_symlink():
        owner = _owner(path)
        if owner != TOOL:
            raise OutputError(
                f"{folder} belongs to {owner} ({path.name} says so), and nothing there is "
                "replaced; name another folder for the output"
            )
        return
    resolved = folder.resolve()
    for parent in resolved.parents:
        below = parent / resolved.relative_to(parent).parts[0]
        if re.fullmatch("sub-[A-Za-z0-9]+", below.name) and (
            (parent / _DESCRIPTION).exists() or _is_subject(below)
        ):
            raise OutputError(
                f"{folder} lies within {below.name} of the data set {parent}; name a folder of its "
                "own for the output"
            )


def _is_subject(folder: Path) -> bool:
    """Whether a folder holds the scans of a person."""
    kinds = ("anat", "func", "dwi", "fmap", "perf", "pet", "meg", "eeg")
    return any((folder / kind).is_dir() for kind in kinds) or any(folder.glob("ses-*"))


def check_unclaimed(folder: Path) -> None:
    """Raises OutputError where an output folder would be made of somebody's data: folders of
    subjects without a description."""
    if (folder / _DESCRIPTION).exists() or not folder.is_dir():
        return
    if any(path.is_dir() for path in folder.glob("sub-*")):
        raise OutputError(
            f"{folder} holds folders of subjects and no {_DESCRIPTION} of {TOOL}: it may be "
            "somebody else's data; name another folder for the output"
        )


def check_without_scans(folder: Path, places: Iterable[str]) -> None:
    """Raises OutputError where one of these places in a folder holds scans: it is a data set."""
    for place in places:
        if any(map(nifti.is_nifti, (folder / place).glob("*"))):
            raise OutputError(
                f"{folder / place} holds scans, beside which nothing is written; name a folder of "
                "its own"
            )


def check_files(wanted: Iterable[tuple[Path, Kind]]) -> None:
    """Raises OutputError where a file that would be written is there and of another making."""
    for path, kind in wanted:
        if (path.exists() or path.is_symlink()) and not is_ours(path, kind):
            raise OutputError(
                f"{path} is there already and was not made by {TOOL}, or was changed since; move "
                "it, or name another folder for the output"
            )


def check_unchanged(output: Path, sizes: Mapping[str, int]) -> None:
    """Raises OutputError for a map that is whole but of another size than when it was written:
    somebody has worked on it.  One that is cut short is damaged, and made again.

    Args:
      output: the output folder.
      sizes: of what was written, by names within it.
    """
    for name, size in sizes.items():
        path = output / name
        if name.endswith(".nii.gz") and path.is_file() and path.stat().st_size != size:
            try:
                with gzip.open(path) as file:
                    while file.read(_ENOUGH):
                        pass
            except (OSError, EOFError, zlib.error):
                continue
            raise OutputError(f"{path} was changed since it was written; move it, to keep it")


def is_ours(path: Path, kind: Kind) -> bool:
    """Whether a file that is there was made by this tool, whole or cut short, or holds nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(_ENOUGH)
    except OSError:
        return False
    if kind == "scans":  # others have such a table as well
        return b"\tqcjax_decision\t" in start.partition(b"\n")[0]
    if len(start) < _SHORT and _BEGINNINGS[kind].startswith(start[: len(_BEGINNINGS[kind])]):
        return True  # cut short before anything tells it
    if kind == "map":
        return _is_our_map(path, start)
    if kind == "table":
        return all(map(_is_our_column, _columns(path, start)))
    if kind == "record" and b'"bids_meta"' in start:
        return False  # the same scores as MRIQC would write them
    return all(mark in start for mark in _MARKS[kind])


_SHORT = 300
"""Bytes, below which a file of ours may have been cut before its mark."""
_BEGINNINGS: dict[str, bytes] = {
    "map": b"\x1f\x8b",
    "sidecar": b'{\n "Model": "',
    "record": b'{\n "name": "',
    "report": b'<!doctype html>\n<html lang="en">',
    "volumes": b"var QC_JAX",
    "table": b"name\t",
    "columns": b'{\n "name": {\n  "Description": "scan"',
    "iqms": b'{\n "bids_meta"',
    "picture": b"\x89PNG",
    "scans columns": b'{\n "qcjax_decision": {',
}
_MARKS: dict[str, tuple[bytes, ...]] = {
    "sidecar": (b'"ModelSHA256"',),
    "record": (b'"model_sha256"',),
    "report": (b"qc_jax</title>",),
    "picture": (b"qc_jax",),
    "volumes": (b"QC_JAX_VOLUMES",),
    "columns": (b'"status"', b'"scored or refused"'),
    "iqms": (b'"qcjax_', b'"bids_meta"'),
    "scans columns": (b'"qcjax_decision"',),
}


def _columns(path: Path, start: bytes) -> Iterable[str]:
    """Of a table; none where nobody can read it any more."""
    if path.suffix != ".parquet":
        return start.partition(b"\n")[0].decode("utf-8", "replace").split("\t")
    import polars as pl  # slow to import, and a scan needs none of it

    try:
        return pl.read_parquet_schema(path)
    except (OSError, pl.exceptions.PolarsError):
        return () if start.startswith(b"PAR1") else ("of another format",)


def _is_our_column(name: str) -> bool:
    """Whether `group` writes a column of this name, and nobody has added it."""
    return (
        name in _COLUMNS
        or name in _ENTITIES
        or name in ("session_id", *acquisition.COLUMNS)
        or name.startswith(("score_", "percentile_", "participant_", "rating_"))
    )


_COLUMNS = {
    *(
        "name",
        "status",
        "decision",
        "decision_reason",
        "cause_named",
        "sentence",
        "predicted_dice",
        "grey_matter_volume_ml",
    ),
    *("grey_matter_volume_error_ml", "model", "version", "file_now", "warnings", "reason", "file"),
}
_ENTITIES = {
    *("sub", "ses", "sample", "task", "acq", "ce", "trc", "rec", "dir", "run", "mod", "echo"),
    *("flip", "inv", "mt", "part", "proc", "space", "split", "chunk", "res", "den", "label"),
    *("desc", "hemi", "from", "to", "mode", "stain", "nuc", "voi", "tracksys", "recording"),
}


def _is_our_map(path: Path, start: bytes) -> bool:
    """By the description in its header, else by its sidecar."""
    try:
        header = zlib.decompressobj(31).decompress(start, nib.Nifti1Header.sizeof_hdr)
        parsed = nib.Nifti1Header(header, check=False)
        described = bytes(parsed["descrip"].item()).rstrip(b"\0")
    except (zlib.error, nib.spatialimages.HeaderDataError, WrapStructError, ValueError):
        return False
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    beside = sidecar.is_file() and is_ours(sidecar, "sidecar")
    return described.startswith(TOOL.encode()) or (not described and beside)


def _owner(path: Path) -> str:
    """Of a folder, by its description: `TOOL`, or who else in words."""
    try:
        content: Any = json.loads(path.read_bytes())
        makers = [str(maker["Name"]) for maker in content.get("GeneratedBy") or []]
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        # Cut short by a full disk, where the rest of the folder says that it is ours.
        cut = path.is_file() and path.stat().st_size < _SHORT and (path.parent / ASSETS).is_dir()
        return TOOL if cut else "somebody who cannot be told"
    others = sorted(set(makers) - {TOOL})
    if makers and not others:
        return TOOL
    return ", ".join(others) or f"the data set {content.get('Name', '')!r}"
