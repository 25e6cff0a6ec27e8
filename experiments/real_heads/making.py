"""A version of a head as an image on a grid of its own.

Artefacts are put in by an acquisition on the grid of the file: its field of view, its voxels, a
single coil and no other noise, so that without an artefact it gives the image back.
"""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.real_heads import heads, uncovered
from experiments.real_heads.heads import Head
from experiments.real_heads.plan import Version
from qc_jax.augment import acquisition, fold_over, local, pipeline
from qc_jax.augment.protocol import Axes, Protocol, as_stored
from qc_jax.errors import ConfigError

_EDGE = 8.0
"""mm over which local damage begins."""
_BRIGHT = 99.9
"""Percentile that is 1 for TorchIO, whose noise is absolute: a bright vessel is not the head."""


class Made(NamedTuple):
    """A version of a head.

    Attributes:
      image: `(X, Y, Z)`, of any scale, in RAS orientation.
      affine: `(4, 4)`, voxels to mm.
      region: `(X, Y, Z)` in [0, 1], where it is spoilt; None for everywhere or nowhere.
      details: of what was drawn, for JSON.
    """

    image: np.ndarray
    affine: np.ndarray
    region: np.ndarray | None = None
    details: dict[str, Any] | None = None


def possible(head: Head, version: Version) -> bool:
    """Whether this head has this version: a stripped one cannot be stripped, nor can a whole one
    without labels, and what has voxels of 1 mm is conformed already."""
    if version.kind == "stripped":
        return head.grey_matter is not None and not head.stripped
    if version.kind == "conformed":
        return not np.allclose(head.voxel_size, 1.0, atol=1e-2)
    return True


def make(head: Head, version: Version, seed: int) -> Made:
    """The version; what is random depends on the seed, the head's name and the version's.

    Raises:
      ConfigError: no scanner could have acquired the scan on its grid.
    """
    number = zlib.crc32(f"{head.name} {version.group} {version.kind} {version.turn}".encode())
    rng = np.random.default_rng([seed, number])
    if version.group == "clean":
        return Made(head.image, head.affine)
    if version.group == "harmless":
        return harmless(head, version.kind)
    if version.group == "uncovered":
        spoil = uncovered.FUNCTIONS[version.kind]
        return Made(spoil(rng, head.image, head.voxel_size, version.fraction), head.affine)
    if version.group == "torchio":
        from experiments.evidence import torchio_artefacts  # which needs what nothing else does

        top = max(float(np.percentile(head.image, _BRIGHT)), float(np.finfo(np.float32).tiny))
        torchio_artefacts.seed_with(int(rng.integers(2**31)))
        image = head.image / top
        return Made(
            torchio_artefacts.spoilt(image, version.kind, version.fraction, head.affine),
            head.affine,
        )
    return acquired(rng, head, version)


# -- An acquisition on the grid of the file ------------------------------------------------------


def protocol_of(head: Head, axes: Axes) -> Protocol:
    """Field of view and voxels of the file.

    Raises:
      ConfigError: no scanner has such voxels.
    """
    try:
        return as_stored(head.image.shape, head.voxel_size, axes)
    except ConfigError as error:
        raise ConfigError(f"{head.name}: {error}") from error


def acquired(rng: np.random.Generator, head: Head, version: Version) -> Made:
    """With an artefact of the scanner, everywhere or in a part of the head."""
    axes = Axes(*map(int, rng.permutation(3)))
    protocol, size = protocol_of(head, axes), head.voxel_size
    kind = acquisition.kind_called(version.kind)
    severities = {kind.name: float(kind.severity(version.fraction))}
    details: dict[str, Any] = {"axes": list(axes), "severity": severities[kind.name]}
    region = None
    if kind.name == "fold_over":
        share = severities.pop(kind.name)
        protocol = fold_over.random_narrow(rng, protocol, head.box, share)
        details["field_of_view"] = list(protocol.field_of_view)
    if version.group == "local":
        region, details["region"] = random_region(rng, head)
    key = jax.random.key(int(rng.integers(2**31)))
    image = acquisition.acquire(key, head.image, size, protocol, severities, region)
    affine = protocol.affine(head.affine, head.image.shape, size)
    return Made(np.asarray(image), affine, None if region is None else np.asarray(region), details)


def random_region(rng: np.random.Generator, head: Head) -> tuple[jax.Array, dict[str, Any]]:
    """Half of the head, or a slab of 15 to 40 % of it, between its top and 140 mm below.

    Returns:
      `(X, Y, Z)` in [0, 1], and the axis with the ends in mm from the centre of the image.
    """
    low, high = head.box
    low[2] = max(low[2], high[2] - heads.CRANIUM)
    axis = int(rng.integers(3))
    extent, middle = high[axis] - low[axis], (low[axis] + high[axis]) / 2
    if rng.random() < 0.5:
        border = middle + rng.uniform(-0.1, 0.1) * extent
        ends = (border, np.inf) if rng.random() < 0.5 else (-np.inf, border)
    else:
        width = rng.uniform(0.15, 0.4) * extent
        first = rng.uniform(low[axis] + 0.15 * extent, high[axis] - 0.15 * extent - width)
        ends = (first, first + width)
    length = head.image.shape[axis] * head.voxel_size[axis]
    begin, end = np.clip(np.array(ends) / length + 0.5, -1.0, 2.0).tolist()
    region = local.slab(head.image.shape, axis, begin, end, _EDGE / length)
    limits = [round(float(mm), 1) if np.isfinite(mm) else None for mm in ends]
    return region, {"axis": axis, "from": limits[0], "to": limits[1]}


# -- What pipelines do -----------------------------------------------------------------------------


def harmless(head: Head, kind: str) -> Made:
    """One of `plan.HARMLESS`."""
    image, affine, size = jnp.asarray(head.image), head.affine, head.voxel_size
    if kind in ("shift_linear", "shift_cubic"):
        to_old = np.eye(4)
        to_old[:3, 3] = -0.5
        moved = pipeline.shift(image, (0.5,) * 3, kind.removeprefix("shift_"))
        return Made(np.asarray(moved), affine @ to_old)
    if kind == "conformed":
        cubes = np.asarray(pipeline.conform(image, size))
        scale = 1 / np.asarray(size)
        to_old = np.diag([*scale, 1.0])
        to_old[:3, 3] = ((np.array(image.shape) - 1) - scale * (np.array(cubes.shape) - 1)) / 2
        return Made(cubes, affine @ to_old)
    if kind == "stripped":
        assert head.grey_matter is not None  # see `possible`
        brain = heads.brain_of(head.grey_matter, size)
        return Made(np.where(brain, head.image, 0), affine, details={"brain_ml": _ml(brain, size)})
    if kind == "standardised":
        return Made(np.asarray(pipeline.standardise(image)), affine)
    return Made(np.asarray(pipeline.clip(image)), affine)


def _ml(mask: np.ndarray, voxel_size) -> float:
    return round(float(mask.sum() * np.prod(voxel_size) / 1000), 1)
