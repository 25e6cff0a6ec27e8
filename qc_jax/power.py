"""The power of the k-space of a scan on the scan's own grid, of the whole and of each slice.

Whoever reads a scan's k-space reads it from here: the transforms take longer than what is read.
"""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import fft


class Power(NamedTuple):
    """Of the k-space of a scan on its own grid, over the number of samples.

    Attributes:
      unit: the intensity, in the scan's own unit, whose square is the unit of power.
      whole: `(X, Y, Z // 2 + 1)` float32, of the scan less its mean.
      slices: across x, y and z, `(n, U, V // 2 + 1)` float32 each, of slices under a Hann taper.
    """

    unit: float
    whole: np.ndarray
    slices: tuple[np.ndarray, np.ndarray, np.ndarray]


def power_of(image: np.ndarray) -> Power:
    """Of a scan, `(X, Y, Z)`, not negative, in any unit: that of power is its brightest voxel."""
    unit = max(float(image.max()), float(np.finfo(np.float32).tiny))
    image = np.asarray(image, np.float32) / np.float32(unit)
    with ThreadPoolExecutor() as threads:  # numpy and scipy let others work meanwhile
        slices = threads.map(functools.partial(_of_slices, image), range(3))
        whole = squared_k_space(image - image.mean()) / np.float32(image.size)
        x, y, z = slices
    return Power(unit, whole, (x, y, z))


def squared_k_space(image: np.ndarray) -> np.ndarray:
    """`(X, Y, Z)` to the half of it that a real Fourier transform has, `(X, Y, Z // 2 + 1)`."""
    k_space = fft.rfftn(image, workers=-1)
    return np.square(k_space.real) + np.square(k_space.imag)


def hann(shape: Sequence[int]) -> np.ndarray:
    """The taper of a slice, `(U, V)` float32, above 0 everywhere."""
    u, v = (np.hanning(n + 2)[1:-1].astype(np.float32) for n in shape)
    return u[:, None] * v


def _of_slices(image: np.ndarray, axis: int) -> np.ndarray:
    """See `Power.slices`."""
    stack = np.moveaxis(image, axis, 0)
    taper = hann(stack.shape[1:])
    k_space = fft.rfft2(stack * taper, axes=(1, 2), workers=-1)
    power = np.square(k_space.real) + np.square(k_space.imag)
    return power / np.float32(np.square(taper).sum())
