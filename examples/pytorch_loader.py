"""Our artefacts in k-space as the augmentation of a PyTorch loader.

    pip install torch
    python examples/pytorch_loader.py

writes `batch.png`.  An image is spoilt by one compiled function of a key, which is that of the
epoch and the image: whatever the number of workers, a run sees the same images.  Workers have to be
started with `multiprocessing_context="spawn"`, since jax has threads, which do not survive a fork.
"""

from collections.abc import Sequence

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from qc_jax import augment

RATE = 0.8
"""Share of the images that get any artefact."""


@jax.jit
def spoil(key: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`(X, Y, Z)` in [0, 1] with artefacts at random, and the severities `(N,)`."""
    return augment.compose(key, image, augment.ALL_SOURCES, RATE)


class Corrupted(torch.utils.data.Dataset):
    """Scans with artefacts, `(1, X, Y, Z)`, and what was put in, `(N,)` in the units of sources."""

    def __init__(self, scans: Sequence[np.ndarray], seed: int = 0):
        self.scans, self.epoch, self._key = scans, 0, jax.random.key(seed)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        key = jax.random.fold_in(jax.random.fold_in(self._key, self.epoch), index)
        image, severities = spoil(key, self.scans[index])
        # A copy, since PyTorch may write into what it is given and jax's arrays are for good.
        return torch.from_numpy(np.array(image))[None], torch.from_numpy(np.array(severities))


def main(scans: Sequence[np.ndarray], picture: str = "batch.png") -> torch.Tensor:
    """Draws the first batch, and returns it."""
    loader = torch.utils.data.DataLoader(Corrupted(scans), batch_size=len(scans))
    images, severities = next(iter(loader))
    _, axes = plt.subplots(1, len(images), figsize=(3 * len(images), 4), layout="constrained")
    for axis, image, drawn in zip(axes, images, severities, strict=True):
        axis.imshow(image[0, :, :, image.shape[3] // 2].T, cmap="gray", origin="lower")
        pairs = zip(augment.ALL_SOURCES, drawn.tolist(), strict=True)
        put_in = [f"{s.name} {severity:.2g}" for s, severity in pairs if severity != s.none]
        axis.set_title("\n".join(put_in) or "clean", fontsize=9)
        axis.axis("off")
    plt.savefig(picture, dpi=110)
    plt.close()
    return images


if __name__ == "__main__":
    from nilearn.datasets import load_mni152_template

    head = load_mni152_template(resolution=2).get_fdata(dtype=np.float32)
    main([head / head.max()] * 4)
