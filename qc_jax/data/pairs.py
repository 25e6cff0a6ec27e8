"""Folders of images with grey-matter labels, BIDS or plain.

* BIDS: `sub-*/**/*_T1w.nii.gz` with labels of the same entities whose suffix is `_dseg` or
  `_label-GM_mask`, in the same folder or below `derivatives/`; all else is left out.
* Plain: `images/` and `labels/` (or nnU-Net's `imagesTr/` and `labelsTr/`) with equal file names,
  or `NAME.nii.gz` beside `NAME_label.nii.gz`; with a folder for each person, in the same of them.

What the numbers of the labels mean is found in `label_numbers`.
"""

import collections
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qc_jax.augment.tissues import DEEP_GREY_MATTER, GREY_MATTER
from qc_jax.data import found_files, label_numbers, nifti
from qc_jax.data.found_files import LABEL_ENDINGS, Found
from qc_jax.errors import ConfigError

_LOG = logging.getLogger(__name__)


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Image and label paths by a name for the scan; what is neither is counted in a log line.

    The name is that of the file, less `_T1w`; with the folder before it where file names are not
    unique, as in `p1/T1`.

    Raises:
      ConfigError: no folder, nothing in it, an image without labels or the other way round, or two
        of them for one scan.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; --data=DIR needs images with labels")
    found, others = found_files.find(folder)
    images, labels = (_by_scan(found, kind) for kind in (False, True))
    for scan in [scan for scan in images if scan not in labels and scan[1].endswith("_0000")]:
        trimmed = (scan[0], scan[1].removesuffix("_0000"))  # nnU-Net's first channel
        if trimmed in labels and trimmed not in images:
            images[trimmed] = images.pop(scan)
    for scan in [scan for scan in labels if scan not in images]:
        if all(one.of_another for one in labels[scan]):
            others["labels of another space"] += len(labels.pop(scan))
    _check(folder, images, labels)
    if others:
        kinds = ", ".join(f"{n} x {kind}" for kind, n in sorted(others.items()))
        _LOG.warning("%s: left out as neither T1w images nor labels of one: %s", folder, kinds)
    unique = len({base for _, base in images}) == len(images)
    return {
        base if unique else "/".join((*place, base)): (
            images[place, base][0].path,
            labels[place, base][0].path,
        )
        for place, base in images
    }


def _by_scan(
    found: Sequence[Found], labels: bool
) -> dict[tuple[tuple[str, ...], str], list[Found]]:
    by_scan = collections.defaultdict(list)
    for one in found:
        if one.labels == labels:
            by_scan[one.scan].append(one)
    return dict(by_scan)


def _check(folder: Path, images: dict, labels: dict) -> None:
    """Raises ConfigError unless there is one image and one label map for each scan."""
    if not images:
        raise ConfigError(
            f"{folder} holds no T1-weighted image: name them *_T1w.nii.gz as BIDS does, or put "
            "them into images/, or beside their labels NAME_label.nii.gz as NAME.nii.gz"
        )
    for kind, files in (("images", images), ("labels", labels)):
        for several in files.values():
            if len(several) > 1:
                raise ConfigError(
                    f"{several[0].path} and {several[1].path} are both {kind} of one scan; leave "
                    f"one of them in {folder}"
                )
    alone = [images[scan] for scan in images if scan not in labels]
    alone += [labels[scan] for scan in labels if scan not in images]
    if alone:
        rest = f", and {len(alone) - 1} more" if len(alone) > 1 else ""
        raise ConfigError(
            f"{folder} holds {len(images)} images and {len(labels)} labels that do not match: "
            f"{alone[0][0].path} has no counterpart{rest}; labels are named as their image with "
            f"{' or '.join(LABEL_ENDINGS[:3])} at the end, in the same place, below derivatives/ "
            "as BIDS has it, or in labels/ under the same name; add what is missing or take the "
            "file away"
        )


def label_beside(image_path: Path) -> Path | None:
    """The labels `NAME_label.nii.gz` of an image `NAME.nii.gz`, if there are any.

    Raises:
      ConfigError: there are several.
    """
    stem = nifti.stem(image_path)
    stems = dict.fromkeys((stem, stem.removesuffix("_T1w")))
    named = (
        image_path.with_name(f"{start}{label}{end}")
        for start in stems
        for label in LABEL_ENDINGS
        for end in nifti.SUFFIXES
    )
    found = [path for path in named if path.is_file()]
    if len(found) > 1:
        raise ConfigError(f"{found[0]} and {found[1]} are both labels of {image_path}; leave one")
    return found[0] if found else None


def read_labelled(
    image_path: Path,
    label_path: Path,
    grey_matter_labels: Sequence[int] = (),
    folder: Path | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image `(X, Y, Z)` float32 in RAS orientation, its grey matter `(X, Y, Z)` bool, and the
    affine `(4, 4)` of both.

    Args:
      image_path: of a T1-weighted scan.
      label_path: of its labels.
      grey_matter_labels: numbers that are grey matter, where the user says so.
      folder: of the data set, the highest that look-up tables are taken from; found from the two
        paths by default.

    Raises:
      ConfigError: one is unreadable, shapes or affines differ, a constant image; labels whose
        meaning is not known, without grey matter, with more of it or less than a head has, or that
        the image contradicts.
    """
    image, affine = nifti.read_volume(image_path)
    labels, label_affine = nifti.read_volume(label_path)
    if image.shape != labels.shape:
        raise ConfigError(
            f"{image_path} has shape {image.shape} and its labels {label_path} {labels.shape}; "
            "resample one to the grid of the other"
        )
    if not np.allclose(affine, label_affine, atol=1e-2):
        raise ConfigError(
            f"{image_path} and its labels {label_path} have different affines; "
            "resample one to the grid of the other"
        )
    if image.max() == image.min():
        raise ConfigError(
            f"{image_path} is constant; there is nothing to learn from it: take it and its labels "
            "away"
        )
    numbers = label_numbers.whole_numbers(label_path, labels, probability=True)
    top = folder or _top(image_path, label_path)
    tissue = label_numbers.tissues_of(label_path, numbers, grey_matter_labels, top)
    grey_matter = (tissue == GREY_MATTER) | (tissue == DEEP_GREY_MATTER)
    label_numbers.check_volume(label_path, grey_matter, affine)
    if contradiction := label_numbers.contradiction(image, tissue):
        raise ConfigError(
            f"{label_path} does not fit {image_path}, in which the medians are {contradiction}: a "
            "T1-weighted image shows fluid darker than grey matter and grey matter darker than "
            "white; are the numbers what the look-up table says, and is it T1-weighted? If both "
            "are so, name the numbers of grey matter with --grey-matter-labels"
        )
    return image, grey_matter, affine


def _top(image_path: Path, label_path: Path) -> Path:
    """The folder of the data set, as far as the two paths show it."""
    parents = [label_path.parent, *label_path.parent.parents]
    common = next((p for p in parents if p in image_path.parents), label_path.parent)
    above = [p.parent for p in parents if p.name.startswith("sub-") or p.name == "derivatives"]
    return min([common, *above], key=lambda path: len(path.parts))


def read_pair(
    image_path: Path,
    label_path: Path,
    voxel_size: float,
    field_of_view: tuple[int, int, int],
    grey_matter_labels: Sequence[int] = (),
    folder: Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """An image in [0, 1] `(X, Y, Z)` float32 and its labels, int8, on a grid centred on the labels.

    Args and Raises: see `read_labelled`; the grid has `field_of_view` voxels of `voxel_size` mm.
    """
    image, grey_matter, affine = read_labelled(image_path, label_path, grey_matter_labels, folder)
    grid = (voxel_size, field_of_view, nifti.centre_of_box(grey_matter, affine))
    conformed = np.clip(nifti.resample(image, affine, *grid), 0, np.inf)
    upper = np.percentile(conformed, 99.9)
    fraction = nifti.resample(grey_matter.astype(np.float32), affine, *grid)
    return (
        np.clip(conformed / max(upper, 1e-12), 0, 1).astype(np.float32),
        (fraction > 0.5).astype(np.int8),
    )
