"""Which NIfTI files of a folder are T1-weighted images, which are labels, and whose they are.

A file stands for a scan: the place where it lies, less what only says that it holds images, labels
or derivatives, and its name, less what only says that it is an image or labels.  An image and its
labels stand for the same scan.
"""

import collections
import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from qc_jax.data import names, nifti
from qc_jax.errors import ConfigError

LABEL_ENDINGS = ("_label-GM_mask", "_dseg", "_label", "_labels", "_seg")
_IMAGES, _LABELS = {"images", "imagesTr"}, {"labels", "labelsTr"}
_HELD_BACK = {"imagesTs", "labelsTs"}
_NOT_ANATOMICAL = {"func", "dwi", "fmap", "perf", "pet", "meg", "eeg", "ieeg", "beh", "micr", "mrs"}
_PASSED_OVER = {"sourcedata", "code", "stimuli", "__MACOSX"}
_PARTS = {"phase", "real", "imag"}
_SAME_GRID = {"orig", "T1w", "scanner"}
"""Values of `space` that mean that of the scan."""
_ANOTHER_GRID = {"space", "hemi", "den", "res", "task", "from", "to", "cohort"}
"""Entities of labels that are of something other than the scan itself."""
_OF_LABELS = {"desc", "label", "seg", "atlas", "part"}
"""Entities that may differ between a scan and its labels."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A file.

    Attributes:
      path: of it.
      labels: whether these are labels.
      scan: place and name of what it stands for.
      derived: below `derivatives/`.
      of_another: labels of something else than a T1-weighted scan, unless one stands for the same.
    """

    path: Path
    labels: bool
    scan: tuple[tuple[str, ...], str]
    derived: bool = False
    of_another: bool = False


def find(folder: Path) -> tuple[list[Found], collections.Counter[str]]:
    """T1-weighted images and labels in a folder and those below it, and what else there is.

    Returns:
      The files in the order of their paths, and of the others how many there are of each kind.

    Raises:
      ConfigError: no NIfTI file, a folder that cannot be read, a file whose name contradicts the
        folder where it lies.
    """
    paths = sorted(_nifti_files(folder))
    if not paths:
        raise ConfigError(f"{folder} holds no .nii or .nii.gz file; put images and labels there")
    bids = any(_is_bids_image(path) for path in paths)
    found, others = [], collections.Counter[str]()
    for path in paths:
        one = (_of_bids if bids else _of_plain)(folder, path)
        if isinstance(one, Found):
            found.append(one)
        else:
            others[one] += 1
    if any(not one.derived and not one.labels for one in found):
        others["derived image"] += sum(one.derived and not one.labels for one in found)
        found = [one for one in found if one.labels or not one.derived]
    return found, +others


def _nifti_files(folder: Path) -> Iterator[Path]:
    """Of all folders below, linked ones as well; hidden files, as macOS leaves them, are none."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename} cannot be read ({error.strerror})") from error

    seen = set()
    for where, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link that leads in a circle
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [f for f in folders if not f.startswith((".", "@")) and f not in _PASSED_OVER]
        for name in files:
            if nifti.is_nifti(Path(name)) and not name.startswith("."):
                yield Path(where) / name


def _is_bids_image(path: Path) -> bool:
    entities, suffixes = names.parse(nifti.stem(path))
    return "sub" in entities and suffixes == ["T1w"] and path.parent.name not in _IMAGES | _LABELS


def _of_bids(folder: Path, path: Path) -> Found | str:
    """What a file of a BIDS data set is; the kind of it in a word where it is neither."""
    folders = path.relative_to(folder).parts[:-1]
    entities, suffixes = names.parse(nifti.stem(path))
    *before, kind = suffixes or [""]
    contrast = kind if kind in names.CONTRASTS else before[-1] if before else "T1w"
    in_labels = bool(_LABELS & set(folders))
    labels = (
        in_labels
        or kind in ("dseg", "label", "labels", "seg")
        or (kind == "mask" and entities.get("label") == "GM")
    )
    if contrast != "T1w" or not (labels or kind == "T1w"):
        return contrast if contrast != "T1w" else kind or "unknown file"
    if _NOT_ANATOMICAL & set(folders):
        return next(f for f in folders if f in _NOT_ANATOMICAL)
    if entities.get("part") in _PARTS:
        return f"part-{entities['part']}"
    for key in ("sub", "ses"):
        values = [f.partition("-")[2] for f in folders if f.startswith(f"{key}-")]
        if any(value != entities.get(key, value) for value in values):
            raise ConfigError(
                f"{path} is called {key}-{entities[key]}, but lies in {key}-{values[-1]}; whose is "
                "it? Rename it or move it"
            )
        if values:
            entities[key] = values[-1]
    another = bool(_ANOTHER_GRID & set(entities)) and entities.get("space") not in _SAME_GRID
    named = {k: v for k, v in entities.items() if k not in _OF_LABELS}
    if named.get("space") in _SAME_GRID:
        del named["space"]
    order = sorted(named, key=lambda key: (key != "sub", key != "ses", key))
    name = "_".join(f"{key}-{named[key]}" for key in order) or nifti.stem(path)
    place = itertools.takewhile(lambda f: not f.startswith("sub-"), _without_kind(folders))
    return Found(path, labels, (tuple(place), name), "derivatives" in folders, another)


def _of_plain(folder: Path, path: Path) -> Found | str:
    """What a file of a folder without BIDS names is, as `_of_bids`."""
    folders, base = path.relative_to(folder).parts[:-1], nifti.stem(path)
    ending = next((end for end in LABEL_ENDINGS if base.endswith(end)), "")
    base = base.removesuffix(ending)
    last = base.rpartition("_")[2]
    if _HELD_BACK & set(folders):
        return "image or label held back (imagesTs, labelsTs)"
    if last in names.CONTRASTS and last != "T1w":
        return last
    if not ending and any(
        base.endswith(f"_part-{part}") or f"_part-{part}_" in base for part in _PARTS
    ):
        return "phase, real or imaginary part"
    labels = bool(ending) or bool(_LABELS & set(folders))
    if "imagesTr" in folders and not labels:
        if last.isdecimal() and len(last) == 4 and int(last):
            return f"channel {last}"
        base = base.removesuffix("_0000")
    return Found(path, labels, (_without_kind(folders), base.removesuffix("_T1w")))


def _without_kind(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folders less those that say what kind of file is in them, and less a pipeline's name."""
    kept, place = _IMAGES | _LABELS | {"anat"}, list(folders)
    if "derivatives" in place:
        at = place.index("derivatives")
        person = [i for i, name in enumerate(place) if name.startswith("sub-")]
        end = person[0] if person else at + 2
        place[at:end] = []
    return tuple(name for name in place if name not in kept)
