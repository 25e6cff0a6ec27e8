"""Folders of images with grey-matter labels, BIDS or plain.

* BIDS: `sub-*/**/*_T1w.nii.gz` with labels of the same name whose suffix is `_dseg` or
  `_label-GM_mask`, in the same folder or below `derivatives/`.
* Plain: `images/` and `labels/` with equal file names, or `NAME.nii.gz` beside `NAME_label.nii.gz`.

Labels are 1 in grey matter; where a map holds FreeSurfer's numbers, cortex and deep grey matter
count (see `label_maps`).
"""

from pathlib import Path

import numpy as np

from qc_jax.augment.tissues import DEEP_GREY_MATTER, GREY_MATTER
from qc_jax.data import label_maps, nifti
from qc_jax.errors import ConfigError

_LABEL_SUFFIXES = ("_label-GM_mask", "_dseg", "_label", "_labels", "_seg")


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Image and label paths by the image's name.

    Raises:
      ConfigError: no folder, nothing in it, or an image without labels and the other way round.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; --data=DIR needs images with labels")
    found = sorted(path for path in folder.rglob("*") if nifti.is_nifti(path))
    if not found:
        raise ConfigError(f"{folder} holds no .nii or .nii.gz file; put images and labels there")
    images, labels = {}, {}
    for path in found:
        name = nifti.stem(path)
        suffix = next((s for s in _LABEL_SUFFIXES if name.endswith(s)), None)
        if suffix or path.parent.name in ("labels", "labelsTr"):
            labels[name.removesuffix(suffix or "")] = path
        else:
            images[name.removesuffix("_T1w").removesuffix("_0000")] = path
    without = [str(path) for name, path in images.items() if name not in labels]
    orphans = [str(path) for name, path in labels.items() if name not in images]
    if without or orphans:
        raise ConfigError(
            f"{folder} holds {len(images)} images and {len(labels)} labels that do not match: "
            f"{(without + orphans)[0]} has no counterpart; labels are named as their image with "
            f"{' or '.join(_LABEL_SUFFIXES[:3])} at the end, or lie in labels/ under the same name"
        )
    return {name: (images[name], labels[name]) for name in images}


def label_beside(image_path: Path) -> Path | None:
    """The labels `NAME_label.nii.gz` of an image `NAME.nii.gz`, if there are any."""
    stem = image_path.with_name(nifti.stem(image_path))
    named = (Path(f"{stem}{label}{end}") for label in _LABEL_SUFFIXES for end in nifti.SUFFIXES)
    return next((path for path in named if path.is_file()), None)


def read_labelled(image_path: Path, label_path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image `(X, Y, Z)` float32 in RAS orientation, its grey matter `(X, Y, Z)` bool, and the
    affine `(4, 4)` of both.

    Raises:
      ConfigError: one is unreadable, shapes or affines differ, no grey matter, a constant image.
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
        raise ConfigError(f"{image_path} is constant; there is nothing to learn from it")
    numbers, table = np.rint(labels).astype(np.int64), label_maps.tissue_table()
    if numbers.min() < 0 or numbers.max() >= len(table):
        raise ConfigError(
            f"{label_path} holds the number {numbers.flat[np.argmax(np.abs(numbers))]}; labels are "
            f"1 in grey matter, or FreeSurfer's numbers from 0 to {len(table) - 1}"
        )
    if numbers.max() > 1:
        numbers = np.isin(table[numbers], (GREY_MATTER, DEEP_GREY_MATTER))
    grey_matter = numbers == 1
    if not grey_matter.any():
        raise ConfigError(f"{label_path} holds no grey matter (1, or FreeSurfer's numbers)")
    return image, grey_matter, affine


def read_pair(
    image_path: Path, label_path: Path, voxel_size: float, field_of_view: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """An image in [0, 1] `(X, Y, Z)` float32 and its labels, int8, on a grid centred on the labels.

    Raises:
      ConfigError: see `read_labelled`.
    """
    image, grey_matter, affine = read_labelled(image_path, label_path)
    grid = (voxel_size, field_of_view, nifti.centre_of_box(grey_matter, affine))
    conformed = np.clip(nifti.resample(image, affine, *grid), 0, np.inf)
    upper = np.percentile(conformed, 99.9)
    fraction = nifti.resample(grey_matter.astype(np.float32), affine, *grid)
    return (
        np.clip(conformed / max(upper, 1e-12), 0, 1).astype(np.float32),
        (fraction > 0.5).astype(np.int8),
    )
