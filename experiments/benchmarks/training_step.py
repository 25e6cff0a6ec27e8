"""The training step and each of its convolutions against PyTorch."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.nn import functional

from experiments.benchmarks import torch_peer
from experiments.benchmarks.measure import Record, compare
from qc_jax import conv, losses
from qc_jax.network import UNet, fresh_params

_EPSILON = 0.05
# Batch, edge of the patch, base features, depth: the demo preset and larger ones.
_NETWORKS = [(8, 24, 8, 3), (4, 32, 16, 4), (1, 64, 16, 4)]


def training_step(quick: bool) -> Iterator[Record]:
    """Same network, patch, batch, loss (Eq. 5), Adam, float32."""
    for batch, edge, features, depth in _NETWORKS[: 1 if quick else None]:
        network = UNet(num_sources=1, base_features=features, depth=depth)
        image = jax.random.uniform(jax.random.key(0), (batch, edge, edge, edge, 1))
        labels = (image[..., 0] > 0.5).astype(jnp.int32)
        params = fresh_params(network, jax.random.key(1), image.shape[1:4])
        torch_image = torch.from_numpy(np.moveaxis(np.array(image), -1, 1).copy())
        torch_labels = torch.from_numpy(np.array(labels)).long()
        torch_peer.check_agreement(network, params, image, torch_image)

        ours = _our_step(network, params, image, labels)
        flops = 3 * convolution_flops(batch, edge, features, depth)
        shapes = f"{batch} x {edge}^3, {features} features, depth {depth}"
        for compiled in (False, True):
            peer = torch_peer.with_parameters(network, params)
            model = torch.compile(peer) if compiled else peer
            theirs = _torch_step(model, peer, torch_image, torch_labels)
            record = compare(
                "training step",
                "PyTorch, torch.compile" if compiled else "PyTorch, eager",
                ours,
                theirs,
                shapes,
                5 if quick else 9,
                {"gflop": flops / 1e9},
            )
            record.notes["gflops_ours"] = flops / record.ours_seconds / 1e9
            yield record


def _our_step(network, params, image, labels):
    optimiser = optax.adam(1e-3)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, image, labels):
        def loss(params):
            logits, log_variance = network.apply(params, image)
            return jnp.mean(losses.combined_loss(logits, labels, log_variance, _EPSILON))

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    params = jax.tree.map(jnp.copy, params)
    held = [params, optimiser.init(params)]

    def call():
        held[0], held[1], value = step(*held, image, labels)
        return value

    return call


def _torch_step(model, peer, image, labels):
    optimiser = torch.optim.Adam(peer.parameters(), lr=1e-3)

    def call():
        optimiser.zero_grad()
        torch_peer.combined_loss(model(image), labels, peer.num_classes, _EPSILON).backward()
        optimiser.step()

    return call


def convolutions(quick: bool) -> Iterator[Record]:
    """Forward, gradient for the input and gradient for the kernel of each convolution apart."""
    batch, edge, features, depth = _NETWORKS[0 if quick else 1]
    for size, channels, width in sorted(set(layers(edge, features, depth)), reverse=True):
        x = jax.random.normal(jax.random.key(0), (batch, size, size, size, channels))
        kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, channels, width)) / 10
        forward = jax.jit(conv.conv3d)
        out = forward(x, kernel)
        input_gradient = jax.jit(lambda x, k, g: jax.vjp(lambda x: conv.conv3d(x, k), x)[1](g))
        kernel_gradient = jax.jit(lambda x, k, g: jax.vjp(lambda k: conv.conv3d(x, k), k)[1](g))
        torch_x, torch_out = (
            torch.from_numpy(np.moveaxis(np.array(a), -1, 1).copy()) for a in (x, out)
        )
        torch_kernel = torch.from_numpy(np.array(kernel.transpose(4, 3, 0, 1, 2)))
        difference = torch.abs(functional.conv3d(torch_x, torch_kernel, padding=1) - torch_out)
        if difference.max() > 1e-3:
            raise AssertionError(f"the convolutions differ by {difference.max()}")
        backward = _torch_backward(torch_x, torch_kernel, torch_out)
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "forward": (
                functools.partial(forward, x, kernel),
                functools.partial(functional.conv3d, torch_x, torch_kernel, padding=1),
            ),
            "input gradient": (
                functools.partial(input_gradient, x, kernel, out),
                functools.partial(backward, [True, False, False]),
            ),
            "kernel gradient": (
                functools.partial(kernel_gradient, x, kernel, out),
                functools.partial(backward, [False, True, False]),
            ),
        }
        if channels == 1:
            del pairs["input gradient"]  # the image needs none
        for name, (ours, theirs) in pairs.items():
            yield compare(
                f"convolution, {name}",
                "PyTorch",
                ours,
                theirs,
                f"{batch} x {size}^3, {channels} -> {width}",
                5 if quick else 9,
            )


def _torch_backward(
    x: torch.Tensor, kernel: torch.Tensor, gradient: torch.Tensor
) -> Callable[[list[bool]], object]:
    """PyTorch's gradients of a 3x3x3 convolution: which of input, kernel and bias are asked for."""
    ones, zeros = [1] * 3, [0] * 3
    convolution = torch.ops.aten.convolution_backward
    return functools.partial(
        convolution, gradient, x, kernel, None, ones, ones, ones, False, zeros, 1
    )


def convolution_flops(batch: int, edge: int, features: int, depth: int) -> int:
    """Multiplications and additions of the 3x3x3 convolutions, forward."""
    return sum(54 * batch * size**3 * i * o for size, i, o in layers(edge, features, depth))


def layers(edge: int, features: int, depth: int) -> list[tuple[int, int, int]]:
    """Edge, input and output channels of every convolution; a decoder's first has two inputs."""
    width = [features * 2**level for level in range(depth)]
    layers, channels = [], 1
    for level in range(depth - 1):
        layers += [
            (edge >> level, channels, width[level]),
            (edge >> level, width[level], width[level]),
        ]
        channels = width[level]
    bottom = edge >> (depth - 1)
    layers += [(bottom, channels, width[-1]), (bottom, width[-1], width[-2])]
    for level in reversed(range(depth - 1)):
        layers += 2 * [(edge >> level, width[level], width[level])]
        layers += [(edge >> level, width[level], width[max(level - 1, 0)])]
    return layers
