"""Whose files there are in a folder: nothing that this tool did not make is ever replaced.

A folder is another's by its `dataset_description.json`; a file is ours by what is in it.
"""

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import polars as pl

from qc_jax.errors import OutputError

Kind = Literal[
    "map", "sidecar", "record", "report", "volumes", "table", "columns", "iqms", "picture"
]
"""What a file holds: of each kind only files of the same kind are replaced."""

TOOL = "qc_jax"
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
        below = resolved.relative_to(parent).parts[0]
        if below.startswith("sub-") and (parent / _DESCRIPTION).exists():
            raise OutputError(
                f"{folder} lies within {below} of the data set {parent}; name a folder of its own "
                "for the output"
            )


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


def check_files(wanted: Iterable[tuple[Path, Kind]]) -> None:
    """Raises OutputError where a file that would be written is there and of another making."""
    for path, kind in wanted:
        if (path.exists() or path.is_symlink()) and not is_ours(path, kind):
            raise OutputError(
                f"{path} is there already and was not made by {TOOL}; move it, or name another "
                "folder for the output"
            )


def is_ours(path: Path, kind: Kind) -> bool:
    """Whether a file that is there was made by this tool, whole or cut short, or holds nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(_ENOUGH)
    except OSError:
        return False
    if not start:
        return True
    if kind == "map":
        sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        return _is_our_map(start) or (sidecar.is_file() and is_ours(sidecar, "sidecar"))
    if kind == "table":
        return set(_columns(path, start)) >= {"name", "status", "warnings", "reason", "file"}
    if kind == "record" and b'"bids_meta"' in start:
        return False  # the same scores as MRIQC would write them
    return all(mark in start for mark in _MARKS[kind])


_MARKS: dict[str, tuple[bytes, ...]] = {
    "sidecar": (b'"ModelSHA256"',),
    "record": (b'"model_sha256"',),
    "report": (b"qc_jax</title>",),
    "picture": (b"qc_jax",),
    "volumes": (b"QC_JAX_VOLUMES",),
    "columns": (b'"status"', b'"scored or refused"'),
    "iqms": (b'"qcjax_', b'"bids_meta"'),
}


def _columns(path: Path, start: bytes) -> Iterable[str]:
    """Of a table."""
    if path.suffix != ".parquet":
        return start.partition(b"\n")[0].decode("utf-8", "replace").split("\t")
    try:
        return pl.read_parquet_schema(path)
    except (OSError, pl.exceptions.PolarsError):
        return ()


def _is_our_map(start: bytes) -> bool:
    """By the description in its header."""
    try:
        header = zlib.decompressobj(31).decompress(start, nib.Nifti1Header.sizeof_hdr)
        parsed = nib.Nifti1Header(header, check=False)
    except (zlib.error, gzip.BadGzipFile, nib.spatialimages.HeaderDataError, ValueError):
        return False
    return bytes(parsed["descrip"].item()).startswith(TOOL.encode())


def _owner(path: Path) -> str:
    """Of a folder, by its description: `TOOL`, or who else in words."""
    try:
        content: Any = json.loads(path.read_bytes())
        makers = [maker["Name"] for maker in content.get("GeneratedBy") or []]
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return "somebody who cannot be told"
    if TOOL in makers:
        return TOOL
    if makers:
        return ", ".join(map(str, makers))
    return f"the data set {content.get('Name', '')!r}"
