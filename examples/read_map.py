"""Read a map: how much of a cause there is, in how much of the head, and where.

    python examples/read_map.py scan.nii.gz

writes `map.png`.  A variance is in logits squared; up to 0.02 it says nothing.  The medians over
the head, `scores`, say how much there is as a whole, `local_scores` what one voxel in twenty
exceeds: a cause that is high there alone has spoilt a part of the head.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

import qc_jax

LIMIT = 0.02
"""Below it nothing was found."""


def strongest(result: qc_jax.ScanScore) -> str:
    """The cause whose variance is highest in the worst part of the head; the task is none."""
    causes = {name: value for name, value in result.local_scores.items() if name != "task"}
    return max(causes, key=causes.__getitem__)


def worst_slice(variance: np.ndarray) -> int:
    """Along the last axis, the slice with the highest mean."""
    return int(np.argmax(variance.mean(axis=(0, 1))))


def main(path: str, picture: str = "map.png", model: qc_jax.Model | None = None) -> str:
    """Draws the map of the strongest cause over the scan, and returns the cause."""
    scan = nib.load(path)
    result = qc_jax.score(scan, model)
    cause = strongest(result)
    variance = result.variances[cause]  # on the grid of the scan
    share = np.mean(variance[result.probability > 0.5] > LIMIT)
    print(f"{cause}: {result.scores[cause]:.3f} over the head, {result.local_scores[cause]:.3f} in")
    print(f"its worst part; {share:.0%} of the grey matter are above the limit of {LIMIT}")

    where = worst_slice(variance)
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 4.5), layout="constrained")
    for axis in (left, right):
        axis.imshow(scan.get_fdata()[:, :, where].T, cmap="gray", origin="lower")
        axis.axis("off")
    over = np.ma.masked_less(variance[:, :, where].T, LIMIT)
    right.set_title(f"variance of {cause}, logits²")
    plt.colorbar(right.imshow(over, alpha=0.7, origin="lower", vmin=0), ax=right)
    plt.savefig(picture, dpi=110)
    plt.close()
    return cause


if __name__ == "__main__":
    main(sys.argv[1])
