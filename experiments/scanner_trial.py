"""Does the scanner's grid help to name a cause?  `python -m experiments.scanner_trial --help`

Heads of label maps are acquired on grids of their own, with and without artefacts, go through a
step of a pipeline and come to the grid of the model as in scoring.  A logistic regression on
`spectrum.describe_scan` learns the cause from some people and is tried on the others, and on real
scans with artefacts that are put in by the same acquisition.
"""

import collections
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments import command
from qc_jax import spectrum
from qc_jax.augment import acquisition, fold_over, pipeline, tissues
from qc_jax.augment.protocol import draw_protocol
from qc_jax.data import cache, label_maps, nifti
from qc_jax.errors import ConfigError
from qc_jax.scoring.conform import conform

CAUSES = ("clean", *dict.fromkeys(kind.cause for kind in acquisition.KINDS))
_GRID, _EDGE, _MODEL_GRID = (192, 240, 240), 2.0, (96, 112, 96)
"""Voxels of 1 mm around a label map; mm and voxels of the model's grid."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Learns causes from scans of label maps and names them in others, and in real scans."""

    labels: Path
    """Folder of label maps with FreeSurfer's numbers."""
    scans: tuple[Path, ...] = ()
    """Clean real heads (NIfTI)."""
    people: int = 8
    """Of the label maps that are learnt from; half as many, others, are for the test."""
    draws: int = 2
    """Versions for each cause and each person."""
    fraction: float = 0.3
    """Artefacts are drawn from this severity on, 0 (mild) to 1 (severe)."""
    seed: int = 1
    """Of everything random."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.scanner_trial", arguments)


def run(arguments: Arguments) -> None:
    """Acquires, learns and prints a line for each set of test scans."""
    paths = label_maps.nifti_files(arguments.labels)
    learnt, tried = paths[: arguments.people], paths[arguments.people :][: arguments.people // 2]
    if not tried:
        raise ConfigError(f"{arguments.labels} holds {len(paths)} label maps; --people is too high")
    cache.use_compilation_cache()
    features, causes = described(learnt, arguments, arguments.draws)
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    regression.fit(features, causes)
    for name, heads in (("label maps", tried), ("real heads", arguments.scans)):
        if heads:
            features, causes = described(heads, arguments, 1)
            _report(name, causes, regression.predict(features))


def described(heads, arguments: Arguments, draws: int) -> tuple[np.ndarray, list[str]]:
    """What the spectra of all versions of the heads are, `(S, SCAN_SIZE)`, and their causes."""
    number = len(heads) * draws * len(CAUSES)
    rows = track(_versions(heads, arguments, draws), "scans", number, console=Console(stderr=True))
    found = [(np.asarray(spectrum.describe_scan(image[None])[0]), cause) for image, cause in rows]
    return np.stack([numbers for numbers, _ in found]), [cause for _, cause in found]


def _versions(heads, arguments: Arguments, draws: int) -> Iterator[tuple[np.ndarray, str]]:
    for path in heads:
        rng = np.random.default_rng([arguments.seed, *path.name.encode()])
        labels = path.parent == arguments.labels
        head = label_maps.read_label_map(path, 1.0, _GRID) if labels else None
        for _ in range(draws):
            for cause in CAUSES:
                image, affine = _drawn(rng, head) if labels else nifti.read_volume(path)
                fraction = rng.uniform(arguments.fraction, 1.0)
                yield scanned(rng, np.maximum(image, 0.0), affine, cause, fraction), cause


def _drawn(rng: np.random.Generator, fractions) -> tuple[np.ndarray, np.ndarray]:
    key = jax.random.key(int(rng.integers(2**31)))
    return np.asarray(tissues.draw_image(key, fractions)), np.eye(4)


def scanned(
    rng: np.random.Generator, image: np.ndarray, affine: np.ndarray, cause: str, fraction: float
) -> np.ndarray:
    """A version of a head on the grid of the model: a protocol, an artefact, a step of a pipeline.

    Args:
      rng: everything random comes from it.
      image: `(X, Y, Z)`, in RAS orientation.
      affine: `(4, 4)`, voxels to mm.
      cause: one of `CAUSES`.
      fraction: of the way from mild to severe.
    """
    size = tuple(map(float, np.linalg.norm(affine[:3, :3], axis=0)))
    box = fold_over.head_box(image, size)
    protocol = draw_protocol(rng, box, max(size))
    severities = {}
    kinds = [kind for kind in acquisition.KINDS if kind.cause == cause]
    if kinds:
        kind = kinds[rng.integers(len(kinds))]
        severities = {kind.name: kind.severity(fraction)}
        if kind.name == "fold_over":
            protocol = fold_over.random_narrow(rng, protocol, box, severities.pop(kind.name))
    key = jax.random.key(int(rng.integers(2**31)))
    scan = acquisition.acquire(key, image, size, protocol, severities)
    to_world = protocol.affine(affine, image.shape, size)
    if rng.random() < 0.5:
        scan, to_old = pipeline.random_move(rng, scan, protocol.stored_voxel_size)
        to_world = to_world @ to_old
    if rng.random() < 0.3:
        scan = pipeline.random_scale(rng, scan)
    return conform(np.asarray(scan), to_world, _EDGE, _MODEL_GRID).image


def _report(name: str, causes: list[str], named: np.ndarray) -> None:
    right = collections.Counter(c for c, n in zip(causes, named, strict=True) if c == n)
    wrong = collections.Counter(f"{c} as {n}" for c, n in zip(causes, named, strict=True) if c != n)
    each = ", ".join(f"{cause} {right[cause]}/{causes.count(cause)}" for cause in CAUSES)
    print(f"{name}: {right.total()} of {len(causes)} right ({each}); {dict(wrong)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
