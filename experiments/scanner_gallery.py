"""Every artefact of an acquisition in pictures: `python -m experiments.scanner_gallery --data=...`

A head is scanned on a grid of its own, clean and with each artefact, and the clean scan goes
through each step of a pipeline; three planes each, at the scanner's resolution.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments import command
from qc_jax import files
from qc_jax.augment import acquisition, fold_over, local, pipeline, tissues
from qc_jax.augment.protocol import Axes, Protocol
from qc_jax.data import label_maps, nifti
from qc_jax.errors import ConfigError

_LABEL_GRID = (192, 240, 240)
"""Voxels of 1 mm around a label map."""
_BRAIN = ("fluid", "grey_matter", "white_matter", "deep_grey_matter")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draws every artefact of an acquisition, and every step of a pipeline, on one head."""

    data: str
    """labels:FILE or labels:DIR for a label map with FreeSurfer's numbers, or a scan (NIfTI)."""
    output: Path = Path("runs/scanner_gallery.png")
    """PNG to write."""
    fraction: float = 0.6
    """Severity of each artefact, from 0 (mild) to 1 (severe)."""
    seed: int = 1
    """Of everything random."""


class Head(NamedTuple):
    """`(X, Y, Z)` image, `(3,)` mm, and where the brain is if that is known."""

    image: np.ndarray
    voxel_size: tuple[float, float, float]
    brain: np.ndarray | None


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    return command.call(run, Arguments, "experiments.scanner_gallery", arguments)


def run(arguments: Arguments) -> None:
    """Reads, scans and draws."""
    if not 0 <= arguments.fraction <= 1:
        raise ConfigError(f"--fraction {arguments.fraction} does not lie in [0, 1]")
    key = jax.random.key(arguments.seed)
    head = read(arguments.data, key)
    pictures = list(scans(key, head, arguments.fraction))
    files.write_whole(arguments.output, lambda partial: draw(partial, pictures))
    print(arguments.output)


def read(data: str, key: jax.Array) -> Head:
    """A head from a label map, of random contrast, or from a scan.

    Raises:
      ConfigError: it cannot be used.
    """
    name = data.removeprefix("labels:")
    path = Path(name)
    if name == data:
        image, affine = nifti.read_volume(path)
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
        return Head(np.maximum(image, 0.0), (float(x), float(y), float(z)), None)
    if path.is_dir():
        found = label_maps.nifti_files(path)
        if not found:
            raise ConfigError(f"{path} holds no .nii or .nii.gz file")
        path = found[0]
    fractions = label_maps.read_label_map(path, 1.0, _LABEL_GRID)
    brain = fractions[..., np.isin(tissues.TISSUES, _BRAIN)].sum(axis=-1, dtype=int) > 127
    return Head(np.asarray(tissues.draw_image(key, fractions)), (1.0, 1.0, 1.0), brain)


def scans(key: jax.Array, head: Head, fraction: float) -> Iterator[tuple[str, np.ndarray, tuple]]:
    """What each scan is, its image, and its voxel size in mm."""
    box = fold_over.head_box(head.image, head.voxel_size)
    protocol = protocol_for(box, max(head.voxel_size))
    size = protocol.stored_voxel_size

    def scan(protocol=protocol, region=None, **severities):
        return np.asarray(
            acquisition.acquire(key, head.image, head.voxel_size, protocol, severities, region)
        )

    clean = scan()
    yield "clean", clean, size
    for axis, side in zip(protocol.encoded, (0.8, -0.8), strict=True):
        share = float(acquisition.kind_called("fold_over").severity(fraction))
        narrow = fold_over.narrow(protocol, box, axis, share, side)
        yield f"fold_over along {'xyz'[axis]}: {share:.2g}", scan(narrow), narrow.stored_voxel_size
    for kind in acquisition.KINDS:
        if kind.name != "fold_over":
            severity = kind.severity(fraction)
            title = f"{kind.name} ({kind.cause}): {severity:.2g} {kind.unit}"
            yield title, scan(**{kind.name: severity}), size
    region = local.slab(clean.shape, 2, 0.5, 2.0, 0.03)
    yield "ghosting in the upper half", scan(region=region, ghosting=0.5), size
    yield from ways_of_storing(scan, protocol)
    yield from pipeline_steps(clean, size, protocol, head)


def protocol_for(box: np.ndarray, edge: float) -> Protocol:
    """Voxels of about 1 mm, sagittal, phase from front to back, partitions from left to right."""
    extent = 1.08 * (box[1] - box[0])
    x, y, z = (2 * int(np.ceil(mm / edge / 2)) for mm in extent)
    cx, cy, cz = map(float, box.mean(axis=0))
    return Protocol(
        (x * edge, y * edge, z * edge),
        (x, y, z),
        (cx, cy, cz),
        axes=Axes(readout=2, phase=1, partition=0),
        phase=(1.0, -1.5, 1.0),
        largest=1000,
        snr_db=28.0,
    )


def ways_of_storing(scan, protocol: Protocol) -> Iterator[tuple[str, np.ndarray, tuple]]:
    """The same head by other protocols."""
    x, y, _ = protocol.matrix
    protocols: dict[str, dict[str, Any]] = {
        "partial Fourier 5/8": {"partial_phase": 0.625},
        "zero filling 2, elliptical": {"zero_filling": (2.0, 2.0, 2.0), "elliptical": True},
        "Hann window": {"apodisation": 1.0},
        "8 coils, correlated": {"coils": 8, "correlation": 0.4, "snr_db": 15.0},
        "2-D, slices of about 5 mm": {
            "slices": True,
            "axes": Axes(readout=1, phase=0, partition=2),
            "matrix": (x, y, max(round(protocol.field_of_view[2] / 5), 2)),
        },
    }
    for title, fields in protocols.items():
        other = dataclasses.replace(protocol, **fields)
        yield title, scan(other), other.stored_voxel_size


def pipeline_steps(
    clean: np.ndarray, size: tuple, protocol: Protocol, head: Head
) -> Iterator[tuple[str, np.ndarray, tuple]]:
    """The clean scan after each step."""
    for method in pipeline.METHODS:
        yield f"half a voxel, {method}", np.asarray(pipeline.shift(clean, (0.5,) * 3, method)), size
    yield "tilted by 8 degrees", np.asarray(pipeline.tilt(clean, (8.0, 0.0, 5.0), size)), size
    yield "conformed to 1 mm", np.asarray(pipeline.conform(clean, size)), (1.0,) * 3
    if head.brain is not None:
        centre = protocol.centre
        brain = np.asarray(
            pipeline.resample(
                np.asarray(head.brain, np.float32), head.voxel_size, clean.shape, size, centre
            )
        )
        brain = brain > 0.5
        yield "defaced", np.asarray(pipeline.remove(clean, pipeline.face(brain))), size
        yield "stripped", np.asarray(pipeline.remove(clean, ~brain)), size
    yield "standardised", np.asarray(pipeline.standardise(clean)), size
    yield "clipped at 80 %", np.asarray(pipeline.clip(clean, 0.5, 80.0)), size
    yield "16 grey values", np.asarray(pipeline.quantise(clean, 16)), size


def draw(path: Path, pictures: list[tuple[str, np.ndarray, tuple]], columns: int = 3) -> None:
    """Three planes of each scan through its middle, windowed to its 99.5th percentile."""
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(
        rows, 3 * columns, figsize=(7 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (title, image, size) in enumerate(pictures):
        panel = axes[number // columns, 3 * (number % columns) : 3 * (number % columns) + 3]
        lowest, highest = np.percentile(image, [0.5, 99.5])
        for axis, across in zip(panel, (0, 1, 2), strict=True):
            plane = np.take(image, round(0.53 * image.shape[across]), axis=across)
            a, b = (size[i] for i in range(3) if i != across)
            axis.imshow(
                plane.T, cmap="gray", origin="lower", vmin=lowest, vmax=highest, aspect=b / a
            )
        panel[1].set_title(title, fontsize=9)
    figure.savefig(path, dpi=100, metadata={"Software": "qc_jax"})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
