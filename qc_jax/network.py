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
from qc_jax.cubes import local_log_spread, max_pool, mean_in_cubes, upsample
from qc_jax.heads import Heads, LevelHead, Seen, conclude
from qc_jax.source_head import CELL, Evidence, SourceHead

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
          scan_levels: `(C,)`, the mean over all patches of the scan of `Seen.patch`; by
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
        seen = self._look(image)
        self.sow("intermediates", "seen", seen)
        if not self.level_head:
            return seen.logits, seen.log_variance
        if scan_spectrum is None:
            scan_spectrum = spectrum.describe_scan(image[..., 0])
        heads = Heads(
            LevelHead(1 + self.num_sources, name="level"),
            SourceHead(1 + self.num_sources, name="sources") if self.source_head else None,
        )
        return conclude(heads, seen, scan_spectrum, scan_levels, evidence)

    def _look(self, image: Float[Array, "B X Y Z 1"]) -> Seen:
        """Encoder, decoder and the two layers that read its last features."""
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
        seen_levels = jnp.concatenate(levels, axis=-1)
        patch = [jnp.mean(seen_levels, axis=(1, 2, 3)), spectrum.describe(image[..., 0])]
        cells = (*spreads, mean_in_cubes(x, CELL)) if self.source_head else ()
        return Seen(logits, log_variance, seen_levels, jnp.concatenate(patch, axis=-1), cells)

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
        return nn.leaky_relu(instance_norm(out, scale, bias)), out


def _spreads_in_cells(convolved: Float[Array, "B X Y Z C"]) -> list[Float[jax.Array, "B x y z C"]]:
    """Log standard deviations of each channel in cells, and in cubes of two of them."""
    fine = local_log_spread(convolved, CELL)
    wide = upsample(local_log_spread(convolved, 2 * CELL))
    return [(x - _LOG_SPREAD_MEAN) / _LOG_SPREAD_SCALE for x in (fine, wide)]


def heads_of(network: UNet, params: Any) -> Heads:
    """Those of a network with a level head."""
    level, sources = LevelHead(1 + network.num_sources), SourceHead(1 + network.num_sources)
    return Heads(
        level.bind({"params": params["params"]["level"]}),
        sources.bind({"params": params["params"]["sources"]}) if network.source_head else None,
    )


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


def look(network: UNet, params: Any, image: Float[Array, "B X Y Z 1"]) -> Seen:
    """What the network sees of patches, `(B, X, Y, Z, 1)`, before its heads.

    Under `jax.jit` what is not asked for costs nothing.
    """
    without_heads = network.clone(level_head=False)  # which are slow to trace
    _, found = without_heads.apply(params, image, mutable=["intermediates"])
    return found["intermediates"]["seen"][0]


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
