"""What the level head of a student sees of simulated scans, and what it should say.

The student has learnt against the errors of the segmentation how large its variances are together
(Eq. 5).  What their sum rises by when one artefact is put in alone is the variance of that artefact
(the variance sum law of section 3), and stands here for what its teacher says in Eq. 7.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import kept
from qc_jax import augment, data, files, network, spectrum, uncertainty
from qc_jax.augment import Source
from qc_jax.models import Model
from qc_jax.scoring import scores
from qc_jax.scoring.predict import windows_in
from qc_jax.scoring.scan import on_grid
from qc_jax.training import SampleConfig, stages

_WINDOWS = 12
"""Of each scan, in other places of each head."""


class Features(NamedTuple):
    """Of S scans in W windows, side by side, with `c` voxels of the bottleneck along each edge.

    Attributes:
      local: `(S, W, c, c, c, C)` float16, what the head sees of a voxel of the bottleneck.
      everywhere: `(S, W, D)`, what it sees of window and scan.
      fine: `(S, W, c, c, c, 1 + N)`, mean of the log-variances without what the head adds.
      target: the same of the log-variances that it should lead to.
      inside: `(W, c, c, c)`, share of the voxel within the head of the clean scan.
      present: `(S, N)`, the fraction of each artefact's severity, NaN where it is absent.
    """

    local: np.ndarray
    everywhere: np.ndarray
    fine: np.ndarray
    target: np.ndarray
    inside: np.ndarray
    present: np.ndarray


def of_population(
    model: Model,
    subjects: Sequence[data.Subject],
    sources: Sequence[Source],
    number: int,
    deformation: float,
    seed: int,
    folder: Path,
) -> Iterator[Features]:
    """Features of `number` heads, in turn of each subject, kept in a folder and read from there.

    Args:
      model: whose level head is to be trained.
      subjects: with tissue fractions.
      sources: of the model.
      number: of heads.
      deformation: see `training.make_scan`.
      seed: of everything random.
      folder: where they are kept, those of other models, subjects or seeds apart.
    """
    folder = kept.folder_for(folder, subjects, model.sha256, deformation, seed)
    for index in range(number):
        path = folder / f"{index}.npz"
        if not path.exists():
            fractions = subjects[index % len(subjects)].fractions
            key = jax.random.fold_in(jax.random.key(seed), index)
            rng = np.random.default_rng([seed, index])
            found = of_head(model, key, rng, fractions, sources, deformation)
            files.write_whole(path, functools.partial(_save, found))
        with np.load(path) as arrays:
            yield Features(**arrays)


def _save(found: Features, path: Path) -> None:
    np.savez(path, **found._asdict())


def of_head(
    model: Model,
    key: jax.Array,
    rng: np.random.Generator,
    fractions: np.ndarray,
    sources: Sequence[Source],
    deformation: float,
) -> Features:
    """Features of a head: scanned clean, with each artefact alone and with several of them."""
    scan_key, vary_key, artefact_key = jax.random.split(key, 3)
    config = SampleConfig(model.description.patch, deformation=deformation)
    image, labels = stages.make_scan(scan_key, fractions, deformation)
    clean, _ = stages.vary_scan(vary_key, image, labels, config)

    fraction = rng.random(len(sources))
    several = [rng.permutation(len(sources))[: rng.integers(2, len(sources) + 1)] for _ in range(2)]
    versions = [[], *([i] for i in range(len(sources))), *several]
    present = np.full((len(versions), len(sources)), np.nan, np.float32)
    for row, version in zip(present, versions, strict=True):
        row[version] = fraction[version]
    places = windows_in(np.ones(clean.shape, bool), model.description.patch, 0.0)
    places = [places[i] for i in rng.permutation(len(places))]
    mask = scores.head_mask(np.asarray(clean), model.description.voxel_size)
    places.sort(key=lambda place: not mask[place].any())
    seen = [of_scan(model, np.asarray(clean), places)]
    for row in present[1:]:
        severities = [
            s.none if np.isnan(f) else s.severity(f) for s, f in zip(sources, row, strict=True)
        ]
        bad = augment.apply_sources(artefact_key, clean, sources, jnp.asarray(severities))
        seen.append(of_scan(model, np.asarray(bad), places))

    first, alone = seen[0], seen[1 : len(sources) + 1]
    edge = 2 ** (model.description.depth - 1)
    rises = [np.maximum(scan.total - first.total, uncertainty.VARIANCE_FLOOR) for scan in alone]
    own = np.stack([in_cubes(np.log(rise), edge) for rise in rises], axis=-1)
    floor = np.float32(np.log(uncertainty.VARIANCE_FLOOR))
    by_source = np.where(np.isnan(present)[:, None, None, None, None], floor, own)
    task = np.broadcast_to(in_cubes(first.task, edge)[..., None], (*by_source.shape[:-1], 1))
    return Features(
        np.stack([scan.local for scan in seen]).astype(np.float16),
        np.stack([scan.everywhere for scan in seen]),
        np.stack([in_cubes(scan.fine, edge) for scan in seen]),
        np.concatenate([task, by_source], axis=-1),
        in_cubes(first.inside.astype(np.float32), edge),
        present,
    )


class Seen(NamedTuple):
    """Of one scan in W windows: as in `Features`, but log-variances of voxels."""

    local: np.ndarray
    everywhere: np.ndarray
    fine: np.ndarray
    task: np.ndarray
    total: np.ndarray
    inside: np.ndarray


def of_scan(model: Model, image: np.ndarray, places: Sequence[tuple[slice, ...]]) -> Seen:
    """A scan as the scoring sees it, in the first windows of those that lie side by side."""
    net, params = model.description.network, model.params
    conformed = on_grid(image, model.description.voxel_size)
    inside = np.stack([conformed.mask[place] for place in places])
    patches = np.stack([conformed.image[place] for place in places])[..., None]
    fine, local, levels = _see(net, params, patches[:_WINDOWS])
    groups = [levels]
    for first in range(_WINDOWS, len(patches), _WINDOWS):
        groups.append(_window_levels(net, params, patches[first : first + _WINDOWS]))
    touched = inside.any(axis=(1, 2, 3))
    scan_levels = np.concatenate(groups)[touched].mean(axis=0)
    scan_spectrum = spectrum.describe_scan(conformed.image[None])[0]
    shared = [np.broadcast_to(x, (len(levels), len(x))) for x in (scan_levels, scan_spectrum)]
    everywhere = np.concatenate([levels, *shared], axis=-1)
    task, total = _variances(net, params, fine, local, everywhere)
    return Seen(*map(np.asarray, (local, everywhere, fine, task, total)), inside[:_WINDOWS])


_window_levels = jax.jit(network.window_levels, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def _see(net: network.UNet, params, patches: jax.Array) -> tuple[jax.Array, ...]:
    """Log-variances without what the head adds, and what the head sees of voxels and windows."""
    # The compiler sees that both have the same encoder, and that one decoder is not asked for.
    _, fine = net.clone(level_head=False).apply(params, patches)
    _, kept = net.apply(params, patches, mutable=["intermediates"])
    return fine, kept["intermediates"]["local_levels"][0], kept["intermediates"]["levels"][0]


@functools.partial(jax.jit, static_argnums=0)
def _variances(net: network.UNet, params, fine, local, everywhere) -> tuple[jax.Array, jax.Array]:
    """Log-variance of the task and the sum of all variances, as the student has them now."""
    head = network.LevelHead(1 + net.num_sources)
    coarse = head.apply({"params": params["params"]["level"]}, local, everywhere)
    log_variance = fine + network.upsample(coarse, net.depth - 1)
    return log_variance[..., 0], uncertainty.total_variance(log_variance)


def in_cubes(x: np.ndarray, edge: int) -> np.ndarray:
    """Means in cubes of `edge` voxels, `(W, X, Y, Z, ...)`."""
    windows, *shape = x.shape[:4]
    parts = [length for size in shape for length in (size // edge, edge)]
    return x.reshape(windows, *parts, *x.shape[4:]).mean(axis=(2, 4, 6))
