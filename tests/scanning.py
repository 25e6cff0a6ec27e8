"""A small head and its scan, for the tests of the acquisition."""

import dataclasses

import jax
import numpy as np
from scipy import ndimage

from qc_jax.augment import acquisition
from qc_jax.augment.protocol import Axes, Protocol

SHAPE = (24, 28, 20)
MM = (1.0, 1.0, 1.0)
PLAIN = Protocol((24.0, 28.0, 20.0), SHAPE, axes=Axes(1, 0, 2), snr_db=np.inf)
"""That of the image itself: no noise, nothing left out."""


def smooth_head(shape=SHAPE, margin=4, seed=0):
    inside = np.zeros(shape)
    inside[tuple(slice(margin, n - margin) for n in shape)] = 1.0
    texture = 1 + 0.5 * np.random.default_rng(seed).random(shape)
    return ndimage.gaussian_filter(inside * texture, 1.0).astype(np.float32)


def scan(image, protocol, severities=None, key=0, voxel_size=MM, **more):
    key = jax.random.key(key)
    return np.asarray(acquisition.acquire(key, image, voxel_size, protocol, severities, **more))


def changed(protocol, axis, **fields):
    """The protocol with other numbers for one axis."""
    new = {}
    for name, value in fields.items():
        numbers = list(getattr(protocol, name))
        numbers[axis] = value
        new[name] = tuple(numbers)
    return dataclasses.replace(protocol, **new)
