"""What the source head sees of scans whose artefacts are known, and what it should say.

Were the truth drawn from what the network says of the clean scan, p, the cross-entropy of what it
says of a spoilt one, q, would be the entropy of p and the divergence KL(p || q) on average.  Eq. 4
has its minimum where the variance is twice the cross-entropy: that of the clean scan, the task's,
and twice the divergence, which is the variance of the artefact (the variance sum law of section 3)
and stands here for what its teacher says in Eq. 7.  It needs no labels.

The network itself stays as it is, so that all of this is computed once.  Of each draw a few blocks
of cells are kept, at the same places in all of its versions.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.acquired import Draw
from qc_jax import cubes, heads, network, source_head, spectrum
from qc_jax.errors import ConfigError
from qc_jax.models import Model
from qc_jax.scoring.scan import OVERLAP
from qc_jax.scoring.sliding import patches_in

BLOCK = 4
"""Cells along the edge of a block: 16 mm, enough for the gradients and windows of Eq. 7."""
_PATCHES, _BLOCKS, _TRIES = 8, 3, 4


class Features(NamedTuple):
    """Of one draw: V versions, K blocks of `BLOCK`^3 cells each.

    Attributes:
      local: `(V, K, b, b, b, C)` float16, what the head sees of a cell.
      slices: `(V, K, 3, b, S)` float16, and of the slices through it.
      scan, axes: `(V, ...)`, see `source_head.Evidence`.
      cross_entropy: `(V, K, b, b, b)`, mean over the cell, of the labels, or of a real scan of what
        the network finds in its clean version.
      own: `(V, K, b, b, b)`, variance of the artefacts, twice the mean over the cell of the
        Kullback-Leibler divergence of what the network says of this version from what it says of
        the clean one.
      task: `(V, K, b, b, b)`, log-variance of the task without the source head.
      region: `(V, K, b, b, b)`, how much of the artefact is there.
      inside: `(V, K, b, b, b)`, share of the cell in the head.
      present: `(V, N)`, fraction of the severity of each cause, NaN where it is absent.
      comparable: `(V, N)` bool, whether the version with this cause alone has it in the same part.
    """

    local: np.ndarray
    slices: np.ndarray
    scan: np.ndarray
    axes: np.ndarray
    cross_entropy: np.ndarray
    own: np.ndarray
    task: np.ndarray
    region: np.ndarray
    inside: np.ndarray
    present: np.ndarray
    comparable: np.ndarray


def with_source_head(model: Model) -> Model:
    """The model with a source head that has learnt nothing, unless it has one."""
    if model.description.source_head:
        return model
    if not model.description.level_head:
        raise ConfigError(f"{model.path} has no level head, which the source head stands on")
    if model.description.depth < 2:
        raise ConfigError(
            f"{model.path} has depth 1; cells of two voxels need a depth of 2 or more"
        )
    description = dataclasses.replace(model.description, source_head=True)
    drawn = network.fresh_params(description.network, jax.random.key(0), description.patch)
    params = {"params": {**drawn["params"], **model.params["params"]}}
    return dataclasses.replace(model, description=description, params=params)


def of_draw(model: Model, draw: Draw, rng: np.random.Generator) -> Features:
    """Features of all versions of a draw."""
    net, patch = model.description.network, model.description.patch
    mask = draw.masks[0]
    everywhere = patches_in(mask, patch, 0.5)
    shares = np.array([mask[place].mean() for place in everywhere])
    chosen = rng.choice(len(everywhere), _PATCHES, p=shares / shares.sum())
    places = [everywhere[i] for i in chosen]
    cells = patch[0] // source_head.CELL
    blocks = [_block(rng, mask[place], cells) for place in places for _ in range(_BLOCKS)]

    def cut(of_patch):  # (W, c, c, c, ...) to (K, b, b, b, ...)
        return np.stack([of_patch[i // _BLOCKS][block] for i, block in enumerate(blocks)])

    parts = []
    for version in range(len(draw.images)):
        image = draw.images[version].astype(np.float32)
        in_model = spectrum.describe_scan(image[None])[0]
        levels = _levels_of(model, image, draw.masks[version])
        patches = np.stack([image[place] for place in places])[..., None]
        logits, local, task = _see(net, model.params, patches, in_model, levels)
        log_chances = jax.nn.log_softmax(logits, axis=-1)
        if version == 0:
            clean = log_chances
            truth = [draw.grey_matter[place] > 127 for place in places]
            labels = np.stack(truth) if draw.grey_matter.any() else np.argmax(logits, axis=-1)
        error = optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(np.int32))
        divergence = jnp.sum(jnp.exp(clean) * (clean - log_chances), axis=-1)
        region = _cut_out(draw.regions[version], places) / np.float32(255)
        parts.append(
            {
                "local": cut(np.asarray(local)).astype(np.float16),
                "slices": _slices(draw.slices[version], places, blocks),
                "scan": np.concatenate([draw.scan[version], in_model]),
                "axes": draw.axes[version],
                "cross_entropy": cut(_means(error)),
                "own": cut(_means(2 * divergence)),
                "task": cut(_means(task)),
                "region": cut(_means(region)),
                "inside": cut(_means(_cut_out(draw.masks[version], places).astype(np.float32))),
            }
        )
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    stacked |= {"present": draw.present, "comparable": _comparable(draw)}
    return Features(**stacked)


def _comparable(draw: Draw) -> np.ndarray:
    """`(V, N)` bool, see `Features`: of the last version, which holds several causes."""
    present = draw.present
    alone = present[1:-1]
    whole = draw.regions[1:-1].reshape(len(alone), -1).min(axis=1) == 255
    comparable = np.ones(present.shape, bool)
    comparable[-1] = (whole[:, None] & np.isfinite(alone)).any(axis=0) | np.isnan(present[-1])
    return comparable


def _block(rng: np.random.Generator, mask: np.ndarray, cells: int) -> tuple[slice, ...]:
    """A block of cells in a patch, of a few tries the one that holds most of the head."""
    edge, best = source_head.CELL, None
    for _ in range(_TRIES):
        corner = rng.integers(0, cells - BLOCK + 1, 3)
        block = tuple(slice(c, c + BLOCK) for c in corner)
        share = mask[tuple(slice(edge * c, edge * (c + BLOCK)) for c in corner)].mean()
        if best is None or share > best[0]:
            best = share, block
        if share > 0.5:
            break
    assert best is not None
    return best[1]


def _slices(slices: np.ndarray, places, blocks) -> np.ndarray:
    """Those through each block, `(K, 3, b, S)`."""
    found = []
    for i, block in enumerate(blocks):
        place = places[i // _BLOCKS]
        firsts = [w.start // source_head.CELL + b.start for w, b in zip(place, block, strict=True)]
        found.append([slices[a, first : first + BLOCK] for a, first in enumerate(firsts)])
    return np.array(found, np.float16)


def _cut_out(volume: np.ndarray, places) -> np.ndarray:
    return np.stack([volume[place] for place in places])


def _means(voxels) -> np.ndarray:
    return np.asarray(cubes.mean_in_cubes(jnp.asarray(voxels)[..., None], source_head.CELL))[..., 0]


def _levels_of(model: Model, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Means over the patches of the scan, as in scoring."""
    net, patch = model.description.network, model.description.patch
    places = patches_in(mask, patch, OVERLAP)
    patches = np.stack([image[place] for place in places])[..., None]
    groups = [
        np.asarray(_levels(net, model.params, _filled(patches[first : first + _PATCHES])))
        for first in range(0, len(patches), _PATCHES)
    ]
    return np.concatenate(groups)[: len(patches)].mean(axis=0)


def _filled(patches: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [patches, np.zeros((_PATCHES - len(patches), *patches.shape[1:]), np.float32)]
    )


@functools.partial(jax.jit, static_argnums=0)
def _levels(net: network.UNet, params, patches) -> jax.Array:
    return network.look(net, params, patches).patch


@functools.partial(jax.jit, static_argnums=0)
def _see(net: network.UNet, params, patches, in_model, levels) -> tuple[jax.Array, ...]:
    """Logits, what the head sees of cells, and log-variances of the task without the head."""
    seen = network.look(net, params, patches)
    log_variance = heads.add_level(network.heads_of(net, params).level, seen, in_model, levels)
    coarse = heads.levels_in_cells(seen, seen.levels)
    cells = jnp.concatenate([heads.in_cells(seen, log_variance), coarse], axis=-1)
    return seen.logits, cells, log_variance[..., 0]
