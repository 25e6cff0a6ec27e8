"""A BIDS folder of small heads, for the tests of clusters."""

from collections.abc import Collection
from pathlib import Path

import nibabel as nib
import numpy as np


def write(folder: Path, head: np.ndarray, number: int, damaged: Collection[int] = ()) -> Path:
    """Writes subjects 00, 01, ..., which differ in their intensities; those damaged are empty."""
    for index in range(number):
        path = folder / f"sub-{index:02}" / "anat" / f"sub-{index:02}_T1w.nii"
        path.parent.mkdir(parents=True)
        image = nib.Nifti1Image((1000 * head + index).astype(np.int16), np.diag([8.0, 8, 8, 1]))
        path.write_bytes(b"" if index in damaged else image.to_bytes())
    return folder
