"""Whole volumes through a network that was trained on patches.

Patches of the training size (instance norm depends on it) cover the volume, or a mask in it, with
overlap.  The network looks at all of them before its heads, which have to know the scan as a
whole, read what it saw.  In each patch Eq. 1 is taken; probabilities and variances, not logits, are
blended with Gaussian weights.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from qc_jax import conv, native, spectrum, uncertainty
from qc_jax.heads import Seen, conclude
from qc_jax.network import UNet, heads_of, look
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
      mask: `(X, Y, Z)` bool, where the result is wanted, `scores.head_mask` say: patches are laid
        over it, see `patches_in`.  Where no patch was, the voxel is background with variance 0.
        Everywhere by default.
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
    batches = [patches[i : i + batch_size] for i in range(0, len(patches), batch_size)]
    seen: list[Seen] = []
    levels: list[np.ndarray] = []
    for batch in batches:
        seen.append(_look(network, params, _inside(padded, batch, patch, batch_size)))
        levels.extend(np.asarray(seen[-1].patch)[: len(batch)])
        progress(len(seen) / len(batches))
    of_scan: tuple[Any, ...] = ()
    if network.level_head and levels:
        of_scan = (spectrum.describe_scan(image[None])[0], np.mean(levels, axis=0))
    weight = _gaussian(patch)
    total = np.zeros(padded.shape, np.float32)
    channels = network.num_classes + 1 + network.num_sources + 1
    blended = np.zeros((*padded.shape, channels), np.float32)
    for batch in batches:
        known = of_scan
        if network.source_head:
            known = *of_scan, _evidence(k_space, of_scan[0], batch, patch, batch_size)
        # What was seen of a batch is freed once it is blended.
        outputs = np.asarray(_weighted_outputs(network, params, seen.pop(0), known, weight))
        for where, output in zip(batch, outputs, strict=False):
            blended[where] += output
            total[where] += weight
    covered = total > 0
    blended /= np.where(covered, total, 1.0)[..., None]
    blended[..., 0] += ~covered
    blended = blended[tuple(slice(n) for n in image.shape)]
    return Prediction(
        blended[..., : network.num_classes],
        blended[..., network.num_classes : -1],
        blended[..., -1],
    )


def _evidence(k_space: native.OnGrid, scan_spectrum, batch, patch, batch_size: int) -> Evidence:
    """Of the patches of a batch."""
    whole = np.concatenate([k_space.scan, scan_spectrum])
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


_look = jax.jit(look, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def _weighted_outputs(
    network: UNet, params: Any, seen: Seen, of_scan: tuple[Any, ...], weight: jax.Array
) -> jax.Array:
    logits, log_variance = seen.logits, seen.log_variance
    if network.level_head:
        logits, log_variance = conclude(heads_of(network, params), seen, *of_scan)
    total = uncertainty.total_variance(log_variance)
    probabilities = uncertainty.scaled_softmax(logits, total)
    entropy = uncertainty.entropy(jax.nn.softmax(logits, axis=-1))[..., None]
    variances = uncertainty.variance(log_variance)
    outputs = jax.numpy.concatenate([probabilities, variances, entropy], axis=-1)
    return weight[..., None] * outputs


def patches_in(wanted: np.ndarray, patch: Sequence[int], overlap: float) -> list[tuple[slice, ...]]:
    """Patches that cover what is wanted: slabs across z, rows in a slab along y, patches in a row.

    Each slab and row is no longer than what is wanted there, which spares four patches in ten of a
    head, and most of those that hold little but air, whose instance norm is another one.

    Args:
      wanted: `(X, Y, Z)` bool, no axis shorter than the patch.
      patch: voxels along x, y and z.
      overlap: share of a patch's edge that its neighbour in the row covers at least, in [0, 1).
    """
    return [
        (along_x, along_y, along_z)
        for along_z in _cover(wanted, 2, patch, overlap)
        for along_y in _cover(wanted[:, :, along_z], 1, patch, overlap)
        for along_x in _cover(wanted[:, along_y, along_z], 0, patch, overlap)
    ]


def _cover(
    wanted: np.ndarray, axis: int, patches: Sequence[int], overlap: float
) -> Iterator[slice]:
    """Evenly spread pieces along an axis that overlap at least so much."""
    patch, size = patches[axis], wanted.shape[axis]
    there = np.asarray(wanted.any(axis=tuple({0, 1, 2} - {axis})))
    places = np.flatnonzero(there)
    if not places.size:
        return
    first, last = int(places[0]), max(int(places[-1]) + 1 - patch, int(places[0]))
    stride = max(int(patch * (1 - overlap)), 1)
    number = -(-(last - first) // stride) + 1
    starts = np.linspace(first, last, number)
    if number == 1:  # centred on what is wanted
        starts -= (patch - (places[-1] + 1 - places[0])) // 2
    starts = np.clip(np.rint(starts).astype(int), 0, size - patch)
    for start in starts.tolist():
        if there[start : start + patch].any():
            yield slice(start, start + patch)


def _inside(image: np.ndarray, batch, patch: Sequence[int], batch_size: int) -> np.ndarray:
    """What is in the patches of a batch, `(batch_size, *patch, 1)`; filled with zeros."""
    inputs = np.zeros((batch_size, *patch, 1), np.float32)
    for i, where in enumerate(batch):
        inputs[i, ..., 0] = image[where]
    return inputs


def _gaussian(patch: Sequence[int]) -> np.ndarray:
    """Weights that fall off from the centre, sigma an eighth of the edge, above 1e-3 everywhere."""
    axes = [np.arange(w) - (w - 1) / 2 for w in patch]
    lines = [np.exp(-0.5 * (a / (w / 8)) ** 2) for a, w in zip(axes, patch, strict=True)]
    weight = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    return np.maximum(weight, 1e-3).astype(np.float32)
