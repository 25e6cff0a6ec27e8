"""The same U-Net in PyTorch with the parameters of ours: the peer of the benchmarks.

MONAI's own U-Nets differ in layout (strided convolutions or other widths), so that the layers are
those of torch and the layout is ours; outputs agree with `qc_jax.network.UNet`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from qc_jax.network import UNet


class TorchUNet(nn.Module):
    """Image `(B, 1, X, Y, Z)` to logits and log-variances `(B, K + 1 + N, X, Y, Z)`."""

    def __init__(self, network: UNet):
        super().__init__()
        depth = network.depth
        features = [network.base_features * 2**level for level in range(depth)]
        self.depth, self.num_classes = depth, network.num_classes
        self.blocks = nn.ModuleDict()
        channels = 1
        for level, width in enumerate(features[:-1]):
            self._add(f"encoder_{level}_first", channels, width)
            self._add(f"encoder_{level}_second", width, width)
            channels = width
        self._add("bottleneck_first", channels, features[-1])
        self._add("bottleneck_second", features[-1], features[-2])
        for level in reversed(range(depth - 1)):
            self._add(f"decoder_{level}_first", 2 * features[level], features[level])
            self._add(f"decoder_{level}_second", features[level], features[max(level - 1, 0)])
        self.logits = nn.Conv3d(features[0], network.num_classes, 1)
        self.log_variance = nn.Conv3d(features[0], 1 + network.num_sources, 1)

    def _add(self, name: str, channels: int, width: int) -> None:
        self.blocks[name] = nn.Sequential(
            nn.Conv3d(channels, width, 3, padding=1, bias=False),
            nn.InstanceNorm3d(width, affine=True),
            nn.LeakyReLU(0.01),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in range(self.depth - 1):
            x = self.blocks[f"encoder_{level}_first"](x)
            x = self.blocks[f"encoder_{level}_second"](x)
            skips.append(x)
            x = functional.max_pool3d(x, 2)
        x = self.blocks["bottleneck_second"](self.blocks["bottleneck_first"](x))
        for level in reversed(range(self.depth - 1)):
            x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = self.blocks[f"decoder_{level}_first"](torch.cat([skips[level], x], dim=1))
            x = self.blocks[f"decoder_{level}_second"](x)
        return torch.cat([self.logits(x), self.log_variance(x)], dim=1)


def with_parameters(network: UNet, params: Mapping[str, Any]) -> TorchUNet:
    """The peer of a network without level head, its parameters copied."""
    peer = TorchUNet(network)
    values = params["params"]
    with torch.no_grad():
        for name, block in peer.blocks.items():
            kernel = np.moveaxis(np.asarray(values[f"{name}_kernel"]), (3, 4), (1, 0))
            block[0].weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            block[1].weight.copy_(torch.from_numpy(np.array(values[f"{name}_scale"])))
            block[1].bias.copy_(torch.from_numpy(np.array(values[f"{name}_bias"])))
        for name in ("logits", "log_variance"):
            head = getattr(peer, name)
            kernel = np.array(values[name]["kernel"].T)
            head.weight.copy_(torch.from_numpy(kernel)[:, :, None, None, None])
            head.bias.copy_(torch.from_numpy(np.array(values[name]["bias"])))
    return peer


def check_agreement(network: UNet, params, image: jax.Array, torch_image: torch.Tensor) -> None:
    """Raises AssertionError where the two networks differ by more than 1e-3."""
    ours = np.concatenate(network.apply(params, image), axis=-1)
    theirs = np.moveaxis(with_parameters(network, params)(torch_image).detach().numpy(), 1, -1)
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


def combined_loss(outputs: torch.Tensor, labels: torch.Tensor, num_classes: int, epsilon: float):
    """Eq. 5, mean over the voxels."""
    cross_entropy = functional.cross_entropy(outputs[:, :num_classes], labels, reduction="none")
    softened = torch.exp(outputs[:, num_classes:]).sum(dim=1) + epsilon
    return (cross_entropy / softened + 0.5 * torch.log(softened)).mean()
