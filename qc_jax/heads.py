"""What the network says once it knows the whole scan: the two heads above its last features.

Instance norm removes from a patch exactly the level of noise in it, and which artefact a scan has
is a question to all of it.  So the U-Net looks at patches first, each for itself, and two small
heads read what it saw (`Seen`) beside what is known of the scan.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Float
from qc_jax.cubes import mean_in_cubes, upsample
from qc_jax.source_head import CELL, Coarse, Evidence, no_evidence


class Seen(NamedTuple):
    """What the U-Net sees of B patches, before the heads that look at the whole scan.

    Attributes:
      logits: `(B, X, Y, Z, K)`.
      log_variance: `(B, X, Y, Z, 1 + N)`.
      levels: `(B, x, y, z, C)`, of each voxel of the bottleneck, see `UNet.level_head`.
      patch: `(B, L)`, their means over the patch, and its spectrum.
      cells: `(B, u, v, w, D)` each, what the source head sees of a cell beside logits and
        log-variances; empty without one.
    """

    logits: jax.Array
    log_variance: jax.Array
    levels: jax.Array
    patch: jax.Array
    cells: tuple[jax.Array, ...]


class LevelHead(nn.Module):
    """Log-variances of a voxel of the bottleneck by what is seen there and everywhere.

    Attributes:
      num_variances: 1 + N.
    """

    num_variances: int

    @nn.compact
    def __call__(
        self, local: Float[Array, "B X Y Z C"], everywhere: Float[Array, "B D"]
    ) -> Float[jax.Array, "B X Y Z V"]:
        """`(B, X, Y, Z, C)` of each voxel and `(B, D)` of its patch and scan together to
        `(B, X, Y, Z, 1 + N)`."""
        # One layer over both; what is the same everywhere goes through it once for each patch.
        hidden = nn.Dense(128, name="local")(local)
        hidden += nn.Dense(128, use_bias=False, name="everywhere")(everywhere)[:, None, None, None]
        hidden = nn.leaky_relu(nn.Dense(64, name="hidden")(nn.leaky_relu(hidden)))
        small = nn.initializers.normal(1e-2)
        return nn.Dense(self.num_variances, name="out", kernel_init=small)(hidden)


class Heads(NamedTuple):
    """The two heads with their parameters.

    Attributes:
      level: as `LevelHead.__call__`.
      sources: as `SourceHead.__call__`, or None.
    """

    level: Callable[..., jax.Array]
    sources: Callable[..., jax.Array] | None


def conclude(
    heads: Heads,
    seen: Seen,
    scan_spectrum: Float[Array, "S D"] | Float[Array, " D"],
    scan_levels: Float[Array, " L"] | None = None,
    evidence: Evidence | None = None,
) -> tuple[Float[jax.Array, "B X Y Z K"], Float[jax.Array, "B X Y Z V"]]:
    """What a network with a level head says of patches; arguments and result as `UNet.__call__`."""
    log_variance = add_level(heads.level, seen, scan_spectrum, scan_levels)
    if heads.sources is None:
        return seen.logits, log_variance
    local = in_cells(seen, log_variance)
    if evidence is None:
        evidence = no_evidence(len(local), max(local.shape[1:4]))
    coarse = Coarse(seen.levels, functools.partial(levels_in_cells, seen))
    found = upsample(heads.sources(local, evidence, coarse), CELL.bit_length() - 1)
    task = log_variance[..., :1] + found[..., :1]
    return seen.logits, jnp.concatenate([task, found[..., 1:]], axis=-1)


def add_level(
    level: Callable[..., jax.Array],
    seen: Seen,
    scan_spectrum: Float[Array, "S D"] | Float[Array, " D"],
    scan_levels: Float[Array, " L"] | None = None,
) -> Float[jax.Array, "B X Y Z V"]:
    """The log-variances of the voxels and the coarse map of the level head together."""
    patch = seen.patch
    scans = len(scan_spectrum) if scan_spectrum.ndim == 2 else len(patch)
    each = len(patch) // scans
    if scan_levels is None:
        together = patch.reshape(scans, each, patch.shape[-1])
        scan_levels = jnp.repeat(jnp.mean(together, axis=1), each, axis=0)
    if scan_spectrum.ndim == 2:
        scan_spectrum = jnp.repeat(scan_spectrum, each, axis=0)
    parts = [patch, scan_levels, scan_spectrum]
    parts = [jnp.broadcast_to(part, (len(patch), part.shape[-1])) for part in parts]
    coarse = level(seen.levels, jnp.concatenate(parts, axis=-1))
    return seen.log_variance + upsample(coarse, _times(coarse, seen.log_variance))


def in_cells(seen: Seen, log_variance: Float[Array, "B X Y Z V"]) -> Float[jax.Array, "B u v w D"]:
    """What the source head sees of each cell; the log-variances with the level head's."""
    contrast = seen.logits[..., 1:] - seen.logits[..., :1]
    voxels = [mean_in_cubes(part, CELL) for part in (contrast, log_variance)]
    return jnp.concatenate([*seen.cells, *voxels], axis=-1)


def levels_in_cells(seen: Seen, levels: Float[Array, "B x y z E"]) -> Float[jax.Array, "B u v w E"]:
    """Any channels of the voxels of the bottleneck, interpolated to cells."""
    return upsample(levels, _times(levels, seen.cells[0]))


def _times(small: Array, large: Array) -> int:
    """How often an image is doubled to the size of another one."""
    return (large.shape[1] // small.shape[1]).bit_length() - 1
