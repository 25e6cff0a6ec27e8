"""Whole volumes through a network that was trained on patches.

Patches of the training size (instance norm depends on it) cover the volume, or a mask in it, with
overlap.  In each, Eq. 1 is taken; probabilities and variances, not logits, are blended with
Gaussian weights.  What a level head has to know of the scan as a whole comes first: its spectrum,
and levels of patches side by side.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from qc_jax import conv, native, spectrum, uncertainty
from qc_jax.network import UNet, patch_levels
from qc_jax.source_head import CELL, Evidence


class Prediction(NamedTuple):
    """What the network says of one volume.

    Attributes:
      probabilities: `(X, Y, Z, K)`, softmax scaled by the total variance (Eq. 1).
      variances: `(X, Y, Z, 1 + N)`, the task first.
      softmax_entropy: `(X, Y, Z)` in nats, of the plain softmax, which knows no variance: what
        other networks offer, for comparison.
    """

    probabilities: np.ndarray
    variances: np.ndarray
    softmax_entropy: np.ndarray


def predict(
    network: UNet,
    params: Any,
    image: np.ndarray,
    patch: Sequence[int],
    overlap: float = 0.25,
    batch_size: int | None = None,
    mask: np.ndarray | None = None,
    k_space: native.OnGrid | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Prediction:
    """Segments a volume of any size and predicts its variances.

    Args:
      network: as trained.
      params: of the network.
      image: `(X, Y, Z)`, in [0, 1]; padded with zeros where smaller than the patch.
      patch: voxels along x, y and z, those of the training patches.
      overlap: share of a patch's edge that its neighbour covers as well, in [0, 1).
      batch_size: patches at a time, `conv.patches_at_a_time` by default; half as many where the
        device has too little memory for them, and half of these again, down to one.
      mask: `(X, Y, Z)` bool, where the result is wanted, `scores.head_mask` say: patches that do
        not touch it are left out, and nothing changes inside it, but that a level head knows the
        levels of these patches alone.  Where no patch was, the voxel is background with variance
        0.  Everywhere by default.
      k_space: of the scan on its own grid; a network with a source head needs it.
      progress: called with the share of the patches that are done.

    Raises:
      ValueError: overlap not in [0, 1), image and mask of different shape, or no `k_space` for a
        network with a source head.
      jax.errors.JaxRuntimeError: the device has no memory for a single patch.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}, but has to lie in [0, 1)")
    if mask is not None and mask.shape != image.shape:
        raise ValueError(f"the mask has shape {mask.shape}, but the image {image.shape}")
    if network.source_head and k_space is None:
        raise ValueError("a network with a source head needs the k-space of the scan, see `native`")
    batch_size = conv.patches_at_a_time() if batch_size is None else batch_size
    while True:
        try:
            return _predict(
                network, params, image, patch, overlap, batch_size, mask, k_space, progress
            )
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or batch_size == 1:
                raise
            batch_size //= 2


def _predict(
    network, params, image, patch, overlap, batch_size, mask, k_space, progress
) -> Prediction:
    padding = [(0, max(w - n, 0)) for n, w in zip(image.shape, patch, strict=True)]
    padded = np.pad(image, padding)
    wanted = np.ones(padded.shape, bool) if mask is None else np.pad(mask, padding)
    patches = patches_in(wanted, patch, overlap)
    of_scan: tuple[Any, ...] = ()
    if network.level_head:
        apart = patches_in(wanted, patch, 0.0)
        levels = [
            np.asarray(_patch_levels(network, params, inputs))[: len(batch)]
            for batch, inputs in _batches(padded, apart, patch, batch_size)
        ]
        scan_levels = np.mean(np.concatenate(levels), axis=0) if apart else None
        of_scan = (spectrum.describe_scan(image[None])[0], scan_levels)
    if network.source_head:
        whole = np.concatenate([k_space.scan, of_scan[0]])
    weight = _gaussian(patch)
    total = np.zeros(padded.shape, np.float32)
    channels = network.num_classes + 1 + network.num_sources + 1
    blended = np.zeros((*padded.shape, channels), np.float32)
    done = 0
    for batch, inputs in _batches(padded, patches, patch, batch_size):
        seen_of_scan = of_scan
        if network.source_head:
            seen_of_scan = *of_scan, _evidence(k_space, whole, batch, patch, batch_size)
        outputs = np.asarray(_weighted_outputs(network, params, inputs, seen_of_scan, weight))
        for where, output in zip(batch, outputs, strict=False):
            blended[where] += output
            total[where] += weight
        done += len(batch)
        progress(done / len(patches))
    seen = total > 0
    blended /= np.where(seen, total, 1.0)[..., None]
    blended[..., 0] += ~seen
    blended = blended[tuple(slice(n) for n in image.shape)]
    return Prediction(
        blended[..., : network.num_classes],
        blended[..., network.num_classes : -1],
        blended[..., -1],
    )


def _evidence(k_space: native.OnGrid, whole, batch, patch, batch_size: int) -> Evidence:
    """Of the patches of a batch."""
    cells = max(patch) // CELL
    slices = np.zeros((batch_size, 3, cells, native.SLICE_SIZE), np.float32)
    for i, where in enumerate(batch):
        for axis, along in enumerate(where):
            first = along.start // CELL
            inside = k_space.slices[axis, first : first + cells]
            slices[i, axis, : len(inside)] = inside
    return Evidence(
        np.broadcast_to(whole, (batch_size, len(whole))),
        np.broadcast_to(k_space.axes, (batch_size, *k_space.axes.shape)),
        slices,
    )


@functools.partial(jax.jit, static_argnums=0)
def _weighted_outputs(
    network: UNet,
    params: Any,
    images: jax.Array,
    of_scan: tuple[jax.Array, ...],
    weight: jax.Array,
) -> jax.Array:
    logits, log_variance = network.apply(params, images, *of_scan)
    total = uncertainty.total_variance(log_variance)
    probabilities = uncertainty.scaled_softmax(logits, total)
    entropy = uncertainty.entropy(jax.nn.softmax(logits, axis=-1))[..., None]
    variances = uncertainty.variance(log_variance)
    outputs = jax.numpy.concatenate([probabilities, variances, entropy], axis=-1)
    return weight[..., None] * outputs


_patch_levels = jax.jit(patch_levels, static_argnums=0)


def patches_in(wanted: np.ndarray, patch: Sequence[int], overlap: float) -> list[tuple[slice, ...]]:
    """Where the patches lie that touch what is wanted."""
    starts = [_starts(n, w, overlap) for n, w in zip(wanted.shape, patch, strict=True)]
    return [
        where
        for corner in itertools.product(*starts)
        if wanted[where := tuple(slice(c, c + w) for c, w in zip(corner, patch, strict=True))].any()
    ]


def _batches(
    image: np.ndarray,
    patches: list[tuple[slice, ...]],
    patch: Sequence[int],
    batch_size: int,
) -> Iterator[tuple[list[tuple[slice, ...]], np.ndarray]]:
    """Patches, `batch_size` at a time, and what is in them; the last batch is filled with zeros."""
    for first in range(0, len(patches), batch_size):
        batch = patches[first : first + batch_size]
        inputs = np.zeros((batch_size, *patch, 1), np.float32)
        for i, where in enumerate(batch):
            inputs[i, ..., 0] = image[where]
        yield batch, inputs


def _starts(size: int, patch: int, overlap: float) -> np.ndarray:
    """First voxels of evenly spread patches that overlap at least so much."""
    stride = max(int(patch * (1 - overlap)), 1)
    number = -(-(size - patch) // stride) + 1
    return np.rint(np.linspace(0, size - patch, number)).astype(int)


def _gaussian(patch: Sequence[int]) -> np.ndarray:
    """Weights that fall off from the centre, sigma an eighth of the edge, above 1e-3 everywhere."""
    axes = [np.arange(w) - (w - 1) / 2 for w in patch]
    lines = [np.exp(-0.5 * (a / (w / 8)) ** 2) for a, w in zip(axes, patch, strict=True)]
    weight = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    return np.maximum(weight, 1e-3).astype(np.float32)
