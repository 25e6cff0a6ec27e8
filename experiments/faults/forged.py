"""NIfTI files as bytes, whose headers say what nibabel would never write."""

from typing import Any

import nibabel as nib
import numpy as np

VOXEL_SIZE = 8.0
"""mm, of the reference."""
Fields = dict[str, Any]
"""Of a header, by name."""


def file(
    data: np.ndarray, affine: np.ndarray | None = None, dtype: Any = np.int16, **fields: Any
) -> bytes:
    """An uncompressed file, with header fields that are set behind nibabel's back."""
    affine = np.diag([VOXEL_SIZE] * 3 + [1.0]) if affine is None else affine
    content = bytearray(nib.Nifti1Image(data.astype(dtype), affine, dtype=dtype).to_bytes())
    known: Any = nib.Nifti1Header.template_dtype.fields or {}
    layout = {n: (dt, off) for n, (dt, off, *_) in known.items()}
    for name, value in fields.items():
        kind, offset = layout[name]
        content[offset : offset + kind.itemsize] = np.asarray(value, kind.base).tobytes()
    return bytes(content)


def changed(content: bytes, position: int, bits: int = 1) -> bytes:
    """With bits of one byte turned."""
    other = bytearray(content)
    other[position] ^= bits
    return bytes(other)
