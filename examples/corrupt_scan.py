"""Corrupt a scan: every artefact of the package at a severity that you choose.

    python examples/corrupt_scan.py scan.nii.gz

writes `corrupted.png`.  A severity is a share of the way from mild to severe; with the same key the
same details are drawn, so that a scan can be shown again with more of the very same artefact.
"""

import sys

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from qc_jax import augment


def corrupted(image: np.ndarray, fraction: float, seed: int = 0) -> dict[str, np.ndarray]:
    """The scan clean, with each artefact alone, and with noise and blur at once.

    Args:
      image: `(X, Y, Z)`, nowhere negative, any scale.
      fraction: of the way from mild (0) to severe (1).
      seed: of what is random in an artefact.

    Returns:
      By name, `(X, Y, Z)` in [0, 1].
    """
    key, clean = jax.random.key(seed), augment.rescale(jnp.asarray(image, jnp.float32))
    shown = {"clean": clean}
    for source in augment.ALL_SOURCES:
        shown[source.name] = augment.corrupt(key, clean, source, fraction)
    both = (augment.NOISE, augment.BLUR)  # in the order in which they arise in the scanner
    severities = jnp.array([source.severity(fraction) for source in both])
    shown["noise and blur"] = augment.apply_sources(key, clean, both, severities)
    return {name: np.asarray(volume) for name, volume in shown.items()}


def main(path: str, picture: str = "corrupted.png", fraction: float = 0.6) -> None:
    """Draws a middle slice of each."""
    scan = nib.as_closest_canonical(nib.load(path))
    shown = corrupted(np.maximum(scan.get_fdata(dtype=np.float32), 0), fraction)
    _, axes = plt.subplots(2, -(-len(shown) // 2), figsize=(12, 6), layout="constrained")
    for axis, (name, volume) in zip(axes.flat, shown.items(), strict=False):
        axis.imshow(volume[:, :, volume.shape[2] // 2].T, cmap="gray", origin="lower")
        axis.set_title(name)
    for axis in axes.flat:
        axis.axis("off")
    plt.savefig(picture, dpi=110)
    plt.close()


if __name__ == "__main__":
    main(sys.argv[1])
