"""Which scans are meant by the files and folders that somebody names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from qc_jax.data import dicom, formats
from qc_jax.errors import ConfigError
from qc_jax.scoring.ownership import ASSETS


def scans_of(paths: Sequence[Path]) -> list[Path]:
    """Scans, and those in folders: files of a known format at any depth, and below a folder that
    holds DICOM files the folder itself, as one scan.

    What this tool has written is passed over, and of a pair of header and voxels the header.

    Raises:
      ConfigError: nothing but a folder without scans, or one of a BIDS data set, which is scored as
        such.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(_voxels_of(path))
            continue
        if (path / "dataset_description.json").is_file() and any(path.glob("sub-*")):
            raise ConfigError(
                f"{path} is a BIDS data set: qc-jax {path} OUTPUT_DIR participant scores it"
            )
        inside = list(_scans_in(path))
        if not inside and len(paths) == 1:
            raise ConfigError(
                f"{path} holds no scan: a name that ends in {', '.join(formats.SUFFIXES)}, or DICOM"
            )
        found += inside or [path]  # which is refused, and the others are scored
    return found


def _scans_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if ASSETS in folders:  # written by this tool
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(place, name) for name in sorted(names)]
        scans = [path for path in paths if formats.is_scan(path)]
        yield from (path for path in scans if _voxels_of(path) == path)
        if not scans and any(map(dicom.is_dicom, paths)):
            yield Path(place)


def _voxels_of(path: Path) -> Path:
    """The file with the voxels, of a pair; any other path as it is."""
    for ending in (".img", ".IMG"):
        if path.suffix.lower() == ".hdr" and path.with_suffix(ending).is_file():
            return path.with_suffix(ending)
    return path
