"""Log-variances of the sources at the scale of the damage, from what is seen there and in k-space.

A cell is a cube of 2 voxels: 4 mm on the grid of 2 mm.  What the U-Net sees of a cell says where
grey matter would suffer; the k-space of the scan on its own grid, as a whole, along each axis and
slice by slice (`native`), says which artefact there is, and in which slices.  Axes are treated
alike, since a scanner can encode any of them by phase.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from qc_jax import native, spectrum

CELL = 2
"""Voxels along the edge of a cell."""
SCAN_SIZE = native.SCAN_SIZE + spectrum.SCAN_SIZE
"""Numbers for a scan as a whole: on its own grid, and on that of the network."""


class Evidence(NamedTuple):
    """What k-space says of the scans that B patches are of.

    Attributes:
      scan: `(B, SCAN_SIZE)`, `native.Native.scan` and `spectrum.describe_scan`.
      axes: `(B, 3, native.AXIS_SIZE)`.
      slices: `(B, 3, C, native.SLICE_SIZE)`, at the C cells of the patch along each axis.
    """

    scan: jax.Array | np.ndarray
    axes: jax.Array | np.ndarray
    slices: jax.Array | np.ndarray


def no_evidence(patches: int, cells: int) -> Evidence:
    """Zeros of the right shapes."""
    return Evidence(
        jnp.zeros((patches, SCAN_SIZE)),
        jnp.zeros((patches, 3, native.AXIS_SIZE)),
        jnp.zeros((patches, 3, cells, native.SLICE_SIZE)),
    )


class Coarse(NamedTuple):
    """Channels that are known in larger cubes than cells.

    Attributes:
      levels: `(B, x, y, z, D)`.
      to_cells: interpolates any number of channels, `(B, x, y, z, E)` to `(B, X, Y, Z, E)`.
    """

    levels: jax.Array
    to_cells: Callable[[jax.Array], jax.Array]


class SourceHead(nn.Module):
    """Log-variances of cells.

    Attributes:
      num_variances: how many.
    """

    num_variances: int

    @nn.compact
    def __call__(
        self, local: jax.Array, evidence: Evidence, coarse: Coarse | None = None
    ) -> jax.Array:
        """`(B, X, Y, Z, C)` of cells, and their `Evidence`, to `(B, X, Y, Z, num_variances)`.

        Channels of `local` that would only be interpolated may be given as `coarse` instead: they
        stand for its last ones.
        """
        hidden = _Local(_WIDTH, name="local")(local, coarse)
        hidden += nn.Dense(_WIDTH, use_bias=False, name="scan")(evidence.scan)[:, None, None, None]
        axes = nn.leaky_relu(nn.Dense(_WIDTH // 2, name="axis")(evidence.axes))
        hidden += nn.Dense(_WIDTH, use_bias=False, name="axes")(_over_axes(axes))[
            :, None, None, None
        ]
        slices = nn.leaky_relu(nn.Dense(_WIDTH // 4, name="slice")(evidence.slices))
        x, y, z = local.shape[1:4]
        crossing = jnp.stack(
            jnp.broadcast_arrays(
                slices[:, 0, :x, None, None],
                slices[:, 1, None, :y, None],
                slices[:, 2, None, None, :z],
            ),
            axis=1,
        )
        hidden += nn.Dense(_WIDTH, use_bias=False, name="slices")(_over_axes(crossing))
        hidden = nn.leaky_relu(nn.Dense(_WIDTH // 2, name="hidden")(nn.leaky_relu(hidden)))
        small = nn.initializers.normal(1e-2)
        return nn.Dense(self.num_variances, name="out", kernel_init=small)(hidden)


_WIDTH = 128


class _Local(nn.Module):
    """`nn.Dense` of the channels of cells and of coarse ones side by side.

    The product with the kernel is taken of the coarse ones before they are interpolated, which is
    the same, since both are linear, with a 64th of the arithmetic where an edge is four times as
    long.
    """

    width: int

    @nn.compact
    def __call__(self, local: jax.Array, coarse: Coarse | None) -> jax.Array:
        fine = local.shape[-1]
        channels = fine + (coarse.levels.shape[-1] if coarse else 0)
        lecun = nn.initializers.lecun_normal()
        kernel = self.param("kernel", lecun, (channels, self.width))
        hidden = local @ kernel[:fine] + self.param("bias", nn.initializers.zeros, (self.width,))
        if coarse:
            hidden += coarse.to_cells(coarse.levels @ kernel[fine:])
        return hidden


def _over_axes(x: jax.Array) -> jax.Array:
    """`(B, 3, ..., C)` to `(B, ..., 3 C)`: the most, the mean and the least over the three axes.

    What is in one half of the head shows in all slices along two of the axes: a cell is in that
    half only where the slices along all three say so, which is the least of them.
    """
    return jnp.concatenate([jnp.max(x, axis=1), jnp.mean(x, axis=1), jnp.min(x, axis=1)], axis=-1)
