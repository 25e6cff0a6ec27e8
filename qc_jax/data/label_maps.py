"""Label maps with FreeSurfer's numbers as tissue fractions.

Grey matter is the cortex (3, 42; 1000-2999 where it is parcellated), the cerebellar cortex (8, 47)
and the deep structures: thalamus (10, 49), caudate (11, 50), putamen (12, 51), pallidum (13, 52),
hippocampus (17, 53), amygdala (18, 54), accumbens (26, 58).  Numbers from 500 to 599 are those of
whole-head maps: bone (515), marrow and skin (516, 511: fat), eyes (506: fluid), else soft tissue.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np

from qc_jax.augment import tissues
from qc_jax.augment.tissues import TISSUES
from qc_jax.data import cache, nifti
from qc_jax.errors import ConfigError

_NUMBERS: dict[str, tuple[int, ...]] = {
    "air": (0,),
    "fluid": (4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63, 72, 136, 137, 163, 164, 506),
    "grey_matter": (3, 42, 8, 47, 11, 50, 12, 51, 17, 53, 18, 54, 26, 58),
    "deep_grey_matter": (10, 49, 13, 52),
    "white_matter": (2, 41, 7, 46, 16, 28, 60, 77, 85, 251, 252, 253, 254, 255),
    "bone": (165, 515),
    "fat": (511, 516),
}
_CORTEX, _WHITE_MATTER = range(1000, 3000), range(3000, 5000)
_LARGEST = 15000


def tissue_table() -> np.ndarray:
    """FreeSurfer number to index in `TISSUES`; numbers not named are soft tissue."""
    table = np.full(_LARGEST, TISSUES.index("soft_tissue"), np.uint8)
    table[_CORTEX] = TISSUES.index("grey_matter")
    table[_WHITE_MATTER] = TISSUES.index("white_matter")
    for tissue, numbers in _NUMBERS.items():
        table[list(numbers)] = TISSUES.index(tissue)
    return table


def load_label_maps(
    folder: Path, voxel_size: float, field_of_view: tuple[int, int, int], cache_folder: Path
) -> dict[str, np.ndarray]:
    """Fractions `(X, Y, Z, T)` uint8 of every label map in a folder, by file name.

    Raises:
      ConfigError: no folder, no label map in it, or one that cannot be used.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; --data=labels:DIR needs one with label maps")
    paths = sorted(path for path in folder.iterdir() if nifti.is_nifti(path))
    if not paths:
        raise ConfigError(f"{folder} holds no .nii or .nii.gz file; put label maps there")
    subjects = {}
    for path in paths:
        stat = path.stat()
        text = f"3 {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {voxel_size} {field_of_view}"
        name = f"labels-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy"
        subjects[nifti.stem(path)] = cache.load_or_make(
            cache_folder / name,
            functools.partial(read_label_map, path, voxel_size, field_of_view),
        )
    return subjects


def read_label_map(
    path: Path, voxel_size: float, field_of_view: tuple[int, int, int]
) -> np.ndarray:
    """One label map on a grid centred on its brain, as fractions `(X, Y, Z, T)` uint8.

    Raises:
      ConfigError: not readable, no integers, or no grey matter.
    """
    data, affine = nifti.read_volume(path)
    numbers = np.rint(data).astype(np.int64)
    if np.abs(data - numbers).max() > 1e-3 or numbers.min() < 0 or numbers.max() >= _LARGEST:
        raise ConfigError(
            f"{path} is no label map: its values are not whole numbers from 0 to {_LARGEST - 1}"
        )
    tissue = tissue_table()[numbers]
    grey_matter = (tissue == tissues.GREY_MATTER) | (tissue == tissues.DEEP_GREY_MATTER)
    if not grey_matter.any():
        raise ConfigError(
            f"{path} holds no grey matter: none of FreeSurfer's numbers "
            f"{sorted(_NUMBERS['grey_matter'] + _NUMBERS['deep_grey_matter'])} or 1000-2999 occurs"
        )
    centre = nifti.centre_of_box(grey_matter, affine)
    tissues_only = [
        nifti.resample((tissue == t).astype(np.float32), affine, voxel_size, field_of_view, centre)
        for t in range(1, len(TISSUES))
    ]
    fractions = np.stack(tissues_only, axis=-1)
    air = 1.0 - fractions.sum(axis=-1, keepdims=True)
    return tissues.to_bytes(np.concatenate([air, fractions], axis=-1))
