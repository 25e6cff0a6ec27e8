"""How a scan was acquired: what its header and its BIDS sidecars say, for the table.

Sidecars are inherited: those of the folders above, down from the root of the data set, hold for
all scans whose name has their entities and their suffix, and the nearest one counts.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib

from qc_jax.data import geometry, nifti
from qc_jax.errors import one_line
from qc_jax.scoring.jobs import Job

NUMBERS = {
    "MagneticFieldStrength": "T",
    "RepetitionTime": "s",
    "EchoTime": "s",
    "InversionTime": "s",
    "FlipAngle": "degree",
    "PixelBandwidth": "Hz",
    "ParallelReductionFactorInPlane": "1",
}
"""Fields of a sidecar that are numbers, and their units in BIDS."""
TEXTS = (
    "Manufacturer",
    "ManufacturersModelName",
    "SoftwareVersions",
    "MRAcquisitionType",
    "ReceiveCoilName",
)
"""Fields of a sidecar that are text; nothing that says who was scanned, where or when."""
HEADER = ("voxel_size_mm", "matrix")
"""What the header says, as text such as 1x1x1.2."""
COLUMNS = (*HEADER, *TEXTS, *NUMBERS)


def read(job: Job, image: nib.spatialimages.SpatialImage) -> tuple[dict[str, object], list[str]]:
    """The parameters of a scan by their names in `COLUMNS`, and which sidecars cannot be read.

    A field of another type than BIDS has it is left out.
    """
    sizes = nib.affines.voxel_sizes(geometry.affine_in_mm(image))
    found: dict[str, object] = {
        "voxel_size_mm": "x".join(f"{size:.3g}" for size in sizes),
        "matrix": "x".join(map(str, image.shape[:3])),
    }
    warnings = []
    for path in _sidecars(job):
        try:
            fields = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            warnings.append(f"its sidecar {path.name} cannot be read ({one_line(error)})")
            continue
        if isinstance(fields, dict):
            told = {n: v for n, v in fields.items() if n not in HEADER and is_parameter(n, v)}
            found |= told
    return found, warnings


def is_parameter(name: str, value: Any) -> bool:
    """Whether a field is one of `COLUMNS` and of its type."""
    if name in NUMBERS:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) < 2**53 and math.isfinite(value)
    return name in COLUMNS and isinstance(value, str)


def _sidecars(job: Job) -> Iterator[Path]:
    """From the farthest to the nearest."""
    name = nifti.stem(job.scan)
    parts = set(name.split("_"))
    above = len(job.folder.parts) if job.entities else 0
    folders = [job.scan.parent, *job.scan.parents[1 : above + 1]]
    for folder in reversed(folders):
        if not job.entities:
            paths = [path for path in [folder / f"{name}.json"] if path.is_file()]
        else:
            paths = sorted(folder.glob(f"*{job.suffix}.json"))
        fitting = [path for path in paths if set(path.stem.split("_")) <= parts]
        yield from sorted(fitting, key=lambda path: len(path.stem.split("_")))
