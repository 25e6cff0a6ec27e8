"""What mild, moderate and severe look like: each artefact of a scanner in the middle of its third.

    python examples/severities.py scan.nii.gz

writes `severities.png`.  The artefacts arise in an acquisition on the grid of the file, those along
the phase axis from left to right of the picture.
"""

import sys
from collections.abc import Iterator

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from qc_jax.augment import acquisition, fold_over
from qc_jax.augment.protocol import Axes, as_stored

KINDS = ("motion", "spike", "noise", "ghosting", "blur", "fold_over")
THIRDS = {"mild": 1 / 6, "moderate": 1 / 2, "severe": 5 / 6}


def scanned(image: np.ndarray, voxel_size: tuple[float, float, float]) -> Iterator[np.ndarray]:
    """The scan with each artefact, `KINDS` one after the other, in each of the `THIRDS`.

    Args:
      image: `(X, Y, Z)`, nowhere negative, any scale.
      voxel_size: in mm.
    """
    axes = Axes(readout=1, phase=0, partition=2)
    whole = as_stored(image.shape, voxel_size, axes)
    box = fold_over.head_box(image, voxel_size)
    for name in KINDS:
        kind = acquisition.kind_called(name)
        for fraction in THIRDS.values():
            protocol, severities = whole, {name: kind.severity(fraction)}
            if name == "fold_over":  # a property of the field of view
                protocol = fold_over.narrow(whole, box, axes.phase, severities.pop(name))
            key = jax.random.key(2)
            yield np.asarray(acquisition.acquire(key, image, voxel_size, protocol, severities))


def main(path: str, picture: str = "severities.png") -> None:
    """Draws a middle slice of each."""
    scan = nib.as_closest_canonical(nib.load(path))
    image = np.maximum(scan.get_fdata(dtype=np.float32), 0)
    size = tuple(map(float, nib.affines.voxel_sizes(scan.affine)))
    brightest = np.percentile(image[image > 0], 99.9)
    figure, grid = plt.subplots(3, len(KINDS), figsize=(12, 7.2), layout="constrained")
    for index, found in enumerate(scanned(image, size)):
        axis = grid[index % 3, index // 3]
        middle = found[:, :, round(0.55 * found.shape[2])].T
        axis.imshow(middle, cmap="gray", origin="lower", vmin=0, vmax=brightest)
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(grid[0], KINDS, strict=True):
        axis.set_title(name.replace("fold_over", "wrap-around"))
    for axis, third in zip(grid[:, 0], THIRDS, strict=True):
        axis.set_ylabel(third)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
