"""The group level on a study of generated records: `python -m experiments.benchmarks.study`."""

import dataclasses
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro

import qc_jax
from qc_jax.augment import ALL_SOURCES
from qc_jax.scoring import group
from qc_jax.scoring.record_fields import REFUSED, SCORED, Identity, Record

_SESSIONS = 3
"""Of each subject, one scan in each."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Writes so many records to a temporary folder, and measures the group level on them."""

    scans: int = 100_000
    """Records, one in a hundred of a refused scan."""


def generated(rng: np.random.Generator, index: int, refused: bool) -> Record:
    """A record such as the participant level writes, with random scores."""
    subject, session = f"{index // _SESSIONS:06d}", str(index % _SESSIONS + 1)
    folder = f"sub-{subject}/ses-{session}/anat"
    name = f"sub-{subject}_ses-{session}_T1w"
    made: Identity = {
        "name": name,
        "file": f"/study/{folder}/{name}.nii.gz",
        "stamp": [8_000_000, 1],
        "folder": folder,
        "suffix": "T1w",
        "entities": {"sub": subject, "ses": session},
        "model": "student",
        "model_sha256": 64 * "0",
        "version": qc_jax.__version__,
    }
    if refused:
        reason = f"{made['file']} is empty, no NIfTI"
        return {**made, "status": REFUSED, "reason": reason, "warnings": []}
    names = ["task", *(source.name for source in ALL_SOURCES)]
    return {
        **made,
        "status": SCORED,
        "reason": "",
        "warnings": [],
        "sentence": "none found",
        "scores": dict(zip(names, rng.lognormal(-3, 0.3, len(names)).tolist(), strict=True)),
        "percentiles": {name: float(rng.uniform(0, 100)) for name in names},
        "predicted_dice": float(rng.beta(40, 8)),
        "grey_matter_volume_ml": float(rng.normal(700, 60)),
        "grey_matter_volume_error_ml": float(rng.normal(20, 2)),
        "maps": {},
        "seconds": {"reading": 0.1, "network": 8.0, "maps": 2.0, "report": 0.5},
    }


def main() -> int:
    """Returns the exit code."""
    arguments = tyro.cli(Arguments, prog="python -m experiments.benchmarks.study")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        output = Path(name)
        for index in range(arguments.scans):
            made = generated(rng, index, refused=index % 100 == 0)
            path = output / made["folder"] / f"{made['name']}.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(made))
        begun = time.monotonic()
        records = group.read_records(output)
        read = time.monotonic()
        (report,) = group.write_group(output, records)
        written = time.monotonic()
        sizes = {
            path.suffix: path.stat().st_size / 2**20
            for path in (report, report.with_suffix(".tsv"), report.with_suffix(".parquet"))
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{arguments.scans} records: read in {read - begun:.1f} s, table and report in ", end="")
    print(f"{written - read:.1f} s, peak memory {peak:.2f} GB")
    print(", ".join(f"{suffix} {size:.1f} MB" for suffix, size in sizes.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
