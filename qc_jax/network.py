"""The 3-D U-Net with two heads: class logits and log-variances.

No-new-net (Isensee et al. 2018) as in NiftyNet, section 5 of Shaw et al. (MIDL 2020): at every
level two 3x3x3 convolutions, each with instance norm and leaky ReLU; max-pooling by 2; the second
convolution of a decoder level halves the features, then trilinear up-sampling by 2.  Two 1x1x1
convolutions without norm read the last features.

Images are `(B, X, Y, Z, 1)` float32, log-variances `(B, X, Y, Z, 1 + N)` with the task first.
"""

import functools
from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from qc_jax import conv, spectrum
from qc_jax.arrays import Array, Float, Key
from qc_jax.source_head import CELL, Coarse, Evidence, SourceHead, no_evidence

_EPSILON = 1e-5
_LOG_SPREAD_MEAN, _LOG_SPREAD_SCALE, _BOTTLENECK_SCALE = 0.5, 0.35, 4.0
"""Typical of a trained task network: what the level head sees has about unit spread, without which
it learns to tell artefacts apart many times more slowly."""


class UNet(nn.Module):
    """Segmentation and heteroscedastic uncertainty in one network.

    Attributes:
      num_sources: N, the artefacts whose variance is predicted beside the task's.
      num_classes: K, background and grey matter by default.
      base_features: channels of the first level; every level below doubles them.
      depth: number of levels; the input has to be divisible by `2 ** (depth - 1)`.
      level_head: adds to every log-variance a coarse map, a value for each voxel of the bottleneck
        that depends on the spread of every encoder channel before the norm there, on the same and
        the power spectrum of the whole patch, and on both of the whole scan.  Instance norm
        removes exactly this level from a patch, and the noise level is just that; and which
        artefact a scan has is a question to all of it.
      source_head: takes the log-variances of the sources from a `SourceHead`, at the scale of cells
        of 4 mm and with what the k-space of the scan says, and adds one of its values to the
        task's.  Needs the level head.
      dtype: of the features and the arithmetic between them; parameters, statistics and both heads
        stay float32.
    """

    num_sources: int = 0
    num_classes: int = 2
    base_features: int = 30
    depth: int = 5
    level_head: bool = False
    source_head: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B X Y Z 1"],
        scan_spectrum: Float[Array, "S D"] | Float[Array, " D"] | None = None,
        scan_levels: Float[Array, " L"] | None = None,
        evidence: Evidence | None = None,
    ) -> tuple[Float[jax.Array, "B X Y Z K"], Float[jax.Array, "B X Y Z V"]]:
        """Segments a batch of images.

        Args:
          image: `(B, X, Y, Z, 1)`, float32 in [0, 1].
          scan_spectrum: `(S, spectrum.SCAN_SIZE)` of S scans, of which there are B / S patches in
            a row each, or `(spectrum.SCAN_SIZE,)`; by default the patches are scans.
          scan_levels: `(C,)`, the mean over all patches of the scan of their `patch_levels`; by
            default over those that are there, where there are S scans.
          evidence: for the source head, of the scan that each patch is of; none by default.

        Returns:
          Logits `(B, X, Y, Z, K)` and log-variances `(B, X, Y, Z, 1 + N)`.

        Raises:
          AssertionError: not five axes or not one channel.
          ValueError: an axis is not divisible by `2 ** (depth - 1)`.
        """
        chex.assert_shape(image, (None, None, None, None, 1))
        check_divisible(image.shape[1:4], self.depth)
        features = [self.base_features * 2**level for level in range(self.depth)]

        x, skips, levels, spreads = image.astype(self.dtype), [], [], []
        for level, width in enumerate(features[:-1]):
            for half in ("first", "second"):
                x, convolved = self._layer([x], width, f"encoder_{level}_{half}")
                spread = local_log_spread(convolved, 2 ** (self.depth - 1 - level))
                if level == 0 and self.source_head:
                    spreads += _spreads_in_cells(convolved)
                levels.append((spread - _LOG_SPREAD_MEAN) / _LOG_SPREAD_SCALE)
            skips.append(x)
            x = max_pool(x)
        x, convolved = self._layer([x], features[-1], "bottleneck_first")
        levels.append(convolved.astype(jnp.float32) / _BOTTLENECK_SCALE)
        if self.depth > 1:
            x, _ = self._layer([x], features[-2], "bottleneck_second")
        for level in reversed(range(self.depth - 1)):
            width, narrow = features[level], features[max(level - 1, 0)]
            x, _ = self._layer([skips[level], upsample(x)], width, f"decoder_{level}_first")
            x, _ = self._layer([x], narrow, f"decoder_{level}_second")

        x = x.astype(jnp.float32)
        logits = nn.Dense(self.num_classes, name="logits")(x)
        log_variance = nn.Dense(
            1 + self.num_sources, name="log_variance", kernel_init=nn.initializers.normal(1e-2)
        )(x)
        if self.level_head:
            seen = jnp.concatenate(levels, axis=-1)
            log_variance += self._level(image, seen, scan_spectrum, scan_levels)
        if self.source_head:
            voxels = [x, logits[..., 1:] - logits[..., :1], log_variance]
            local = [*spreads, *(mean_in_cubes(part, CELL) for part in voxels)]
            found = self._sources(
                jnp.concatenate(local, axis=-1), jnp.concatenate(levels, axis=-1), evidence
            )
            self.sow("intermediates", "task", log_variance[..., 0])
            task = log_variance[..., :1] + found[..., :1]
            log_variance = jnp.concatenate([task, found[..., 1:]], axis=-1)
        return logits, log_variance

    def _layer(self, inputs, width: int, name: str) -> tuple[jax.Array, jax.Array]:
        """Convolution over the concatenated inputs, instance norm, leaky ReLU; and before the norm.

        The inputs are convolved one by one and summed, which spares the concatenated copy.
        """
        channels = sum(x.shape[-1] for x in inputs)
        kernel = self.param(
            f"{name}_kernel",
            nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal"),
            (3, 3, 3, channels, width),
        )
        scale = self.param(f"{name}_scale", nn.initializers.ones, (width,))
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (width,))
        parts, first = [], 0
        for x in inputs:
            last = first + x.shape[-1]
            parts.append(conv.conv3d(x, kernel[..., first:last, :].astype(self.dtype)))
            first = last
        out = functools.reduce(jnp.add, parts)
        return leaky_relu(instance_norm(out, scale, bias)), out

    def _level(
        self,
        image: Float[Array, "B X Y Z 1"],
        levels: Float[Array, "B x y z C"],
        scan_spectrum: Float[Array, "S D"] | Float[Array, " D"] | None,
        scan_levels: Float[Array, " L"] | None,
    ) -> Float[jax.Array, "B X Y Z V"]:
        """Levels for each voxel of the bottleneck to the coarse map, `(B, X, Y, Z, 1 + N)`."""
        spectra = spectrum.describe(image[..., 0])
        patch = jnp.concatenate([jnp.mean(levels, axis=(1, 2, 3)), spectra], axis=-1)
        self.sow("intermediates", "local_levels", levels)
        self.sow("intermediates", "levels", patch)
        if scan_spectrum is None:
            scan_spectrum = spectrum.describe_scan(image[..., 0])
        scans = len(scan_spectrum) if scan_spectrum.ndim == 2 else len(patch)
        each = len(patch) // scans
        if scan_levels is None:
            together = patch.reshape(scans, each, patch.shape[-1])
            scan_levels = jnp.repeat(jnp.mean(together, axis=1), each, axis=0)
        if scan_spectrum.ndim == 2:
            scan_spectrum = jnp.repeat(scan_spectrum, each, axis=0)
        parts = [patch, scan_levels, scan_spectrum]
        parts = [jnp.broadcast_to(part, (len(patch), part.shape[-1])) for part in parts]
        head = LevelHead(1 + self.num_sources, name="level")
        return upsample(head(levels, jnp.concatenate(parts, axis=-1)), self.depth - 1)

    def _sources(
        self,
        local: Float[Array, "B u v w D"],
        levels: Float[jax.Array, "B x y z C"],
        evidence: Evidence | None,
    ) -> Float[jax.Array, "B X Y Z V"]:
        """What is seen of each cell and levels for each voxel of the bottleneck to what the source
        head says, `(B, X, Y, Z, 1 + N)`: what the task's log-variance gains, and those of the
        sources."""
        to_cells = functools.partial(upsample, times=self.depth - 1 - _CELL_LEVELS)
        whole = jnp.concatenate([local, to_cells(levels)], axis=-1)
        self.sow("intermediates", "cells", whole)
        if evidence is None:
            evidence = no_evidence(len(local), max(local.shape[1:4]))
        head = SourceHead(1 + self.num_sources, name="sources")
        return upsample(head(local, evidence, Coarse(levels, to_cells)), _CELL_LEVELS)


_CELL_LEVELS = CELL.bit_length() - 1


def _spreads_in_cells(convolved: Float[Array, "B X Y Z C"]) -> list[Float[jax.Array, "B x y z C"]]:
    """Log standard deviations of each channel in cells, and in cubes of two of them."""
    fine = local_log_spread(convolved, CELL)
    wide = upsample(local_log_spread(convolved, 2 * CELL))
    return [(x - _LOG_SPREAD_MEAN) / _LOG_SPREAD_SCALE for x in (fine, wide)]


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
        hidden = leaky_relu(nn.Dense(64, name="hidden")(leaky_relu(hidden)))
        small = nn.initializers.normal(1e-2)
        return nn.Dense(self.num_variances, name="out", kernel_init=small)(hidden)


def fresh_params(network: UNet, key: Key, patch: Sequence[int]) -> Any:
    """Parameters to start from, for patches of so many voxels along x, y and z.

    As `network.init`, but ten times as fast on a CPU, where the random numbers of every layer take
    XLA seconds to optimise and no time to draw.
    """
    image = jnp.zeros((1, *patch, 1))
    if isinstance(key, jax.core.Tracer):  # part of a larger program, which is compiled as a whole
        return network.init(key, image)
    init = jax.jit(network.init, compiler_options={"xla_backend_optimization_level": 0})
    return init(key, image)


def apply_to_scans(
    network: UNet,
    params: Any,
    patches: Float[Array, "S W X Y Z 1"],
    scan_spectrum: Float[Array, "S D"],
) -> tuple[Float[jax.Array, "S W X Y Z K"], Float[jax.Array, "S W X Y Z V"]]:
    """The network over W patches of each of S scans; what these have in common stands for the scan.

    Args:
      network: whose `apply` is called, on all patches side by side.
      params: of it.
      patches: `(S, W, X, Y, Z, 1)`.
      scan_spectrum: `(S, spectrum.SCAN_SIZE)`.

    Returns:
      Logits `(S, W, X, Y, Z, K)` and log-variances `(S, W, X, Y, Z, 1 + N)`.
    """
    together = network.apply(params, patches.reshape(-1, *patches.shape[2:]), scan_spectrum)
    logits, log_variance = (x.reshape(*patches.shape[:2], *x.shape[1:]) for x in together)
    return logits, log_variance


def patch_levels(
    network: UNet, params: Any, image: Float[Array, "B X Y Z 1"]
) -> Float[jax.Array, "B L"]:
    """What the level head sees of each patch as a whole, `(B, X, Y, Z, 1)` to `(B, C)`.

    Under `jax.jit` the decoder, whose result is not asked for, costs nothing.
    """
    _, found = network.apply(params, image, mutable=["intermediates"])
    return found["intermediates"]["levels"][0]


def check_divisible(shape: Sequence[int], depth: int) -> None:
    """Raises ValueError where a network of `depth` levels cannot halve `shape` often enough."""
    divisor = 2 ** (depth - 1)
    if any(size % divisor or size <= 0 for size in shape):
        raise ValueError(
            f"a patch of {'x'.join(map(str, shape))} voxels cannot be halved {depth - 1} times: "
            f"make every edge a multiple of {divisor}, or the network less deep"
        )


def instance_norm(
    x: Float[Array, "B X Y Z C"], scale: Float[Array, " C"], bias: Float[Array, " C"]
) -> Float[jax.Array, "B X Y Z C"]:
    """Zero mean and unit variance over the three axes of each channel, then `scale` and `bias`."""
    dtype, x = x.dtype, jnp.asarray(x, jnp.float32)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2, 3), keepdims=True)
    return ((x - mean) * (scale * jax.lax.rsqrt(variance + _EPSILON)) + bias).astype(dtype)


def local_log_spread(x: Float[Array, "B X Y Z C"], edge: int) -> Float[jax.Array, "B x y z C"]:
    """Log standard deviation of each channel in cubes of `edge` voxels.

    `(B, X, Y, Z, C)` to `(B, X / edge, Y / edge, Z / edge, C)`.
    """
    batch, *shape, channels = x.shape
    number = [size // edge for size in shape]
    cubes = x.astype(jnp.float32).reshape(
        batch, number[0], edge, number[1], edge, number[2], edge, channels
    )
    return 0.5 * jnp.log(jnp.var(cubes, axis=(2, 4, 6)) + _EPSILON)


def mean_in_cubes(x: Float[Array, "B X Y Z C"], edge: int) -> Float[jax.Array, "B x y z C"]:
    """Means in cubes of `edge` voxels, `(B, X, Y, Z, C)` to a cube each."""
    x = jnp.asarray(x)
    batch, *shape, channels = x.shape
    parts = [length for size in shape for length in (size // edge, edge)]
    return jnp.mean(x.reshape(batch, *parts, channels), axis=(2, 4, 6))


def leaky_relu(x: Float[Array, "*any"]) -> Float[jax.Array, "*any"]:
    """max(x, 0.01 x)."""
    return nn.leaky_relu(x, 0.01)


def max_pool(x: Float[Array, "B X Y Z C"]) -> Float[jax.Array, "B x y z C"]:
    """Maximum over blocks of 2x2x2 voxels."""
    x = jnp.asarray(x)
    batch, *shape, channels = x.shape
    halved = [size // 2 for size in shape]
    blocks = x.reshape(batch, halved[0], 2, halved[1], 2, halved[2], 2, channels)
    return blocks.max(axis=(2, 4, 6))


def upsample(x: Float[Array, "B X Y Z C"], times: int = 1) -> Float[jax.Array, "B U V W C"]:
    """Trilinear interpolation to twice the size, so many times over; voxel centres aligned, edges
    repeated."""
    x = jnp.asarray(x)
    for axis in (1, 2, 3) * times:
        size = x.shape[axis]
        first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
        last = jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
        padded = jnp.concatenate([first, x, last], axis=axis)
        before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
        after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
        pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x
