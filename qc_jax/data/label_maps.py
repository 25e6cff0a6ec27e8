"""Label maps with FreeSurfer's numbers as tissue fractions.

Grey matter is the cortex (3, 42; 1000-2999, 11100-11299, 12100-12299 where it is parcellated), the
cerebellar cortex (8, 47) and the deep structures: thalamus (10, 49), caudate (11, 50), putamen (12,
51), pallidum (13, 52), hippocampus (17, 53), amygdala (18, 54), accumbens (26, 58).  Numbers from
500 to 599 are those of whole-head maps: bone (515), marrow and skin (516, 511: fat), eyes (506:
fluid), else soft tissue.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np

from qc_jax import files
from qc_jax.augment import tissues
from qc_jax.augment.tissues import TISSUES
from qc_jax.data import cache, label_numbers, nifti
from qc_jax.data.label_numbers import tissue_table
from qc_jax.errors import ConfigError


def load_label_maps(
    folder: Path, voxel_size: float, field_of_view: tuple[int, int, int], cache_folder: Path
) -> dict[str, np.ndarray]:
    """Fractions `(X, Y, Z, T)` uint8 of every label map in a folder, by file name.

    Raises:
      ConfigError: no folder, no label map in it, or one that cannot be used.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; --data=labels:DIR needs one with label maps")
    paths = nifti_files(folder)
    if not paths:
        raise ConfigError(f"{folder} holds no .nii or .nii.gz file; put label maps there")
    subjects: dict[str, np.ndarray] = {}
    for path in paths:
        name = nifti.stem(path)
        if name in subjects:
            raise ConfigError(f"{folder} holds two label maps called {name}; leave one of them")
        # By content: a map that was exchanged is another one, whatever its name and its date.
        text = f"4 {_digest(path)} {voxel_size} {field_of_view}"
        subjects[name] = cache.load_or_make(
            cache_folder / f"labels-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy",
            functools.partial(read_label_map, path, voxel_size, field_of_view),
        )
    return subjects


def nifti_files(folder: Path) -> list[Path]:
    """Of a folder, not of those in it; hidden ones, as macOS leaves them, are none."""
    return sorted(
        path for path in folder.iterdir() if nifti.is_nifti(path) and not path.name.startswith(".")
    )


def _digest(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError:
        return ""  # reading it says in one sentence what is wrong


def read_label_map(
    path: Path, voxel_size: float, field_of_view: tuple[int, int, int]
) -> np.ndarray:
    """One label map on a grid centred on its brain, as fractions `(X, Y, Z, T)` uint8.

    Raises:
      ConfigError: not readable, no integers, not FreeSurfer's numbers, or no grey matter, or more
        of it than a head has.
    """
    data, affine = nifti.read_volume(path)
    numbers = label_numbers.whole_numbers(path, data)
    present = [int(n) for n in np.unique(numbers)]
    tissue = tissue_table()[np.minimum(numbers, label_numbers.LARGEST - 1)]
    grey_matter = (tissue == tissues.GREY_MATTER) | (tissue == tissues.DEEP_GREY_MATTER)
    if not grey_matter.any():
        raise ConfigError(
            f"{path} holds no grey matter: its numbers are {label_numbers.in_words(present)}, and "
            "none of FreeSurfer's for it is among them (3, 42, 8, 47, 1000 to 2999 and others)"
        )
    if not label_numbers.is_freesurfer(set(present)):
        raise ConfigError(
            f"{path} holds the numbers {label_numbers.in_words(present)}, which are not those of "
            "FreeSurfer's maps of a whole brain (aseg, aparc+aseg, wmparc); give label maps made "
            "by FreeSurfer, FastSurfer or SynthSeg, or images with grey-matter labels as --data=DIR"
        )
    label_numbers.check_volume(path, grey_matter, affine)
    centre = nifti.centre_of_box(grey_matter, affine)
    tissues_only = [
        nifti.resample((tissue == t).astype(np.float32), affine, voxel_size, field_of_view, centre)
        for t in range(1, len(TISSUES))
    ]
    fractions = np.stack(tissues_only, axis=-1)
    air = 1.0 - fractions.sum(axis=-1, keepdims=True)
    return tissues.to_bytes(np.concatenate([air, fractions], axis=-1))
