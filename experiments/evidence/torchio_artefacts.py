"""TorchIO's artefacts: the one module that needs TorchIO and its PyTorch."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
import torchio

TRANSFORMS: dict[str, Callable[[float], torchio.Transform]] = {
    "blur": lambda severity: torchio.RandomBlur(std=(4 * severity,) * 2),
    "ghosting": lambda severity: torchio.RandomGhosting(intensity=(2 * severity,) * 2),
    "motion": lambda severity: torchio.RandomMotion(
        degrees=(10 * severity,) * 2, translation=(10 * severity,) * 2
    ),
    "noise": lambda severity: torchio.RandomNoise(std=(0.3 * severity,) * 2),
    "spike": lambda severity: torchio.RandomSpike(intensity=(3 * severity,) * 2),
}
"""At 0 to 1: the ends are mild and severe to the eye."""


def seed_with(seed: int) -> None:
    """Everything random of TorchIO follows from it."""
    torch.manual_seed(seed)


def spoilt(
    image: np.ndarray, artefact: str, severity: float, affine: np.ndarray | None = None
) -> np.ndarray:
    """An image `(X, Y, Z)`, about 1 where it is bright, with TorchIO's artefact; not negative.

    Lengths are in mm where the affine, `(4, 4)`, is given, in voxels otherwise.
    """
    tensor = torchio.ScalarImage(tensor=torch.tensor(image)[None], affine=affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peer
        return np.maximum(TRANSFORMS[artefact](severity)(tensor).data[0].numpy(), 0)
