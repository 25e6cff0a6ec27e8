"""What `gpu` measures: the same work by us and by PyTorch, as calls without arguments."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import optax
import torch
from torch.nn import functional

from experiments import build
from experiments.benchmarks import torch_peer
from experiments.benchmarks.training_step import convolution_flops, layers
from experiments.presets import PRESETS
from qc_jax import conv, losses, training, uncertainty
from qc_jax.augment import tissues
from qc_jax.models import load_model
from qc_jax.network import UNet, fresh_params
from qc_jax.scoring import conform, scan
from qc_jax.training import plateau, sparse

_EPSILON = 0.05
Call = Callable[[], Any]


class Case(NamedTuple):
    """Size of a step: patches, their edge, features of the first level, levels."""

    batch: int
    edge: int
    features: int
    depth: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.edge}^3 x {self.features} features, depth {self.depth}"


def device() -> torch.device:
    """PyTorch's."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matmul_flops(dtype) -> float:
    """Operations per second of a matrix product in this precision: what the card can reach."""
    edge = 8192 if torch.cuda.is_available() else 1024
    a = jax.random.normal(jax.random.key(0), (edge, edge), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    begun = time.perf_counter()
    for _ in range(5):
        result = product(a)
    jax.block_until_ready(result)
    return 5 * 2 * edge**3 / (time.perf_counter() - begun)


def step_flops(sources: int, case: Case) -> float:
    """Of the convolutions: forward and two gradients, and a pass for each frozen network."""
    forward = convolution_flops(case.batch, case.edge, case.features, case.depth)
    return forward * (3 + (1 + sources if sources > 1 else sources))


# -- Training steps --------------------------------------------------------------------------------


def _networks(sources: int, case: Case, dtype) -> tuple[UNet, list[UNet]]:
    """The network of a stage and the frozen ones that it learns from: the task, the teachers."""
    make = functools.partial(
        UNet, base_features=case.features, depth=case.depth, dtype=dtype, num_classes=2
    )
    frozen = [make(num_sources=0)] if sources else []
    frozen += [make(num_sources=1)] * (sources if sources > 1 else 0)
    return make(num_sources=sources), frozen


def _inputs(case: Case) -> tuple[jax.Array, jax.Array]:
    image = jax.random.uniform(jax.random.key(0), (case.batch, *[case.edge] * 3, 1))
    return image, (image[..., 0] > 0.5).astype(jnp.int32)


def _parameters(sources: int, case: Case, dtype) -> tuple[Any, list[Any]]:
    network, frozen = _networks(sources, case, dtype)
    patch = [case.edge] * 3
    fresh = [
        fresh_params(net, jax.random.key(i), patch) for i, net in enumerate([network, *frozen])
    ]
    return fresh[0], fresh[1:]


def our_step(sources: int, case: Case, dtype) -> tuple[Call, dict[str, float]]:
    """A step of Adam, Eq. 5 and squared differences from the variances of the frozen networks; and
    the memory of its program."""
    network, frozen = _networks(sources, case, dtype)
    params, frozen_params = _parameters(sources, case, dtype)
    optimiser, (image, labels) = optax.adam(1e-3), _inputs(case)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, frozen_params, image, labels):
        targets = [
            uncertainty.variance(net.apply(p, image)[1])[..., -1]
            for net, p in zip(frozen, frozen_params, strict=True)
        ]

        def loss(params):
            logits, log_variance = network.apply(params, image)
            value = jnp.mean(losses.combined_loss(logits, labels, log_variance, _EPSILON))
            variances = uncertainty.variance(log_variance)
            for i, target in enumerate(targets):
                value += jnp.mean(jnp.square(variances[..., i] - target))
            return value

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    held = [params, optimiser.init(params)]
    begun = time.perf_counter()
    program = step.lower(*held, frozen_params, image, labels).compile()
    notes = {"compile_seconds": time.perf_counter() - begun}
    if analysis := program.memory_analysis():
        notes["megabytes"] = analysis.temp_size_in_bytes / 2**20

    def call():
        held[0], held[1], value = program(*held, frozen_params, image, labels)
        return value

    return call, notes


def torch_step(sources: int, case: Case, dtype, compiled: bool) -> Call:
    """The same by PyTorch, channels last, bfloat16 by autocast."""
    network, frozen = _networks(sources, case, jnp.float32)
    params, frozen_params = _parameters(sources, case, jnp.float32)

    def on_device(net, values):
        peer = torch_peer.with_parameters(net, values).to(device())
        return peer.to(memory_format=torch.channels_last_3d)

    peer = on_device(network, params)
    teachers = [on_device(net, p) for net, p in zip(frozen, frozen_params, strict=True)]
    run: list[Any] = [torch.compile(net) if compiled else net for net in (peer, *teachers)]
    image, labels = (np.asarray(x) for x in _inputs(case))
    x = torch.from_numpy(np.moveaxis(image, -1, 1).copy()).to(device())
    x = x.contiguous(memory_format=torch.channels_last_3d)
    truth = torch.from_numpy(labels.copy()).long().to(device())
    optimiser = torch.optim.Adam(peer.parameters(), lr=1e-3, fused=torch.cuda.is_available())
    precision = torch.autocast(device().type, torch.bfloat16, enabled=dtype == jnp.bfloat16)

    def call():
        optimiser.zero_grad()
        with precision:
            with torch.no_grad():
                targets = [torch.exp(net(x)[:, -1].float()) for net in run[1:]]
            outputs = run[0](x)
        outputs = outputs.float()
        loss = torch_peer.combined_loss(outputs, truth, 2, _EPSILON)
        for i, target in enumerate(targets):
            loss = loss + (torch.exp(outputs[:, 2 + i]) - target).square().mean()
        loss.backward()
        optimiser.step()
        _wait()

    return call


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# -- Convolutions ----------------------------------------------------------------------------------


def layers_of(case: Case) -> list[tuple[int, int, int]]:
    """Edge, input and output channels of the convolutions that differ."""
    return sorted(set(layers(case.edge, case.features, case.depth)), reverse=True)


def convolution(
    batch: int, size: int, channels: int, width: int, dtype
) -> Iterator[tuple[str, Call, Call]]:
    """Name, ours and PyTorch's: forward and both gradients."""
    x = jax.random.normal(jax.random.key(0), (batch, *[size] * 3, channels), dtype)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, channels, width), dtype)
    forward = jax.jit(conv.conv3d)
    out = forward(x, kernel)
    input_gradient = jax.jit(lambda x, k, g: jax.vjp(lambda x: conv.conv3d(x, k), x)[1](g))
    kernel_gradient = jax.jit(lambda x, k, g: jax.vjp(lambda k: conv.conv3d(x, k), k)[1](g))

    def to_torch(array, order):
        values = np.asarray(array.astype(jnp.float32)).transpose(order).copy()
        kind = torch.bfloat16 if dtype == jnp.bfloat16 else torch.float32
        tensor = torch.from_numpy(values).to(device(), kind)
        return tensor.contiguous(memory_format=torch.channels_last_3d)

    image, gradient = (to_torch(a, (0, 4, 1, 2, 3)) for a in (x, out))
    weights = to_torch(kernel, (4, 3, 0, 1, 2))
    ones, zeros = [1] * 3, [0] * 3

    def torch_forward():
        functional.conv3d(image, weights, padding=1)
        _wait()

    def torch_backward(asked):
        torch.ops.aten.convolution_backward(
            gradient, image, weights, None, ones, ones, ones, False, zeros, 1, asked
        )
        _wait()

    yield "forward", functools.partial(forward, x, kernel), torch_forward
    if channels > 1:  # the image needs no gradient
        ours = functools.partial(input_gradient, x, kernel, out)
        yield "input gradient", ours, functools.partial(torch_backward, [True, False, False])
    ours = functools.partial(kernel_gradient, x, kernel, out)
    yield "kernel gradient", ours, functools.partial(torch_backward, [False, True, False])


# -- Samples and scans -----------------------------------------------------------------------------


def _head(shape: tuple[int, int, int]) -> np.ndarray:
    """`(X, Y, Z, T)` uint8, shells of tissue in air: seconds do not depend on what is seen."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    number = len(tissues.TISSUES)
    shell = (np.linalg.norm(np.stack(axes), axis=0) * number).astype(int)
    tissue = np.maximum(number - 1 - shell, 0)
    return (255 * (tissue[..., None] == np.arange(number))).astype(np.uint8)


def samples_and_step(tiny: bool) -> tuple[Call, Call]:
    """Making the samples of a step of the student in preset `gpu`, and the whole step."""
    config = PRESETS["gpu"]
    if tiny:
        config = dataclasses.replace(
            config,
            batch_size=2,
            network=dataclasses.replace(config.network, base_features=4, depth=2, dtype="float32"),
            sample=dataclasses.replace(config.sample, patch=(16, 16, 16)),
        )
    *before, student = build.stages(config)
    shape = (32, 32, 32) if tiny else config.heads.field_of_view
    heads = jnp.asarray(_head(shape))[None]
    sources, mesh = build.chosen_sources(config), training.data_mesh()
    keys = jax.random.split(jax.random.key(0), config.batch_size)

    def sample(key):
        image, labels = training.make_scan(key, heads[0], config.sample.deformation)
        return training.make_sample(key, image, labels, sources, config.sample, True)

    make = jax.jit(lambda keys: sparse.for_each(sample, keys))
    params = [build.fresh_state(config, stage).params for stage in before]
    frozen = training.Frozen(params[0], tuple(params[1:]))
    fixed = jax.device_put(build.Fixed(frozen, heads), training.replicated(mesh))
    state = jax.device_put(build.fresh_state(config, student), training.replicated(mesh))
    key = jax.device_put(build.stage_key(config, student.name), training.replicated(mesh))
    step = build.step_of(config, student, mesh)
    batch = {
        "subject": np.zeros(config.batch_size, np.int32),
        "index": np.arange(config.batch_size),
    }
    held = [state]

    def call():
        state = plateau.with_learning_rate(held[0], config.learning_rate)
        held[0], metrics = step(state, key, training.sharded(mesh, batch), fixed)
        return metrics["loss"]

    return functools.partial(make, keys), call


def scoring_calls(tiny: bool) -> tuple[Call, Call, Call]:
    """A scan of 1 mm scored, its network alone, and MONAI's inferer with the same U-Net."""
    model = load_model()
    shape = (64, 64, 64) if tiny else (192, 224, 192)
    inside = _head(shape)[..., 0] == 0  # all but air
    noise = np.random.default_rng(0).normal(size=shape)
    image = np.where(inside, 400 + 40 * noise, np.abs(5 * noise)).astype(np.float32)
    file = nib.Nifti1Image(image, np.diag([3.0 if tiny else 1.0] * 3 + [1.0]))
    data, affine, _ = scan.prepare(file)
    description = model.description
    conformed = conform.conform(data, affine, description.voxel_size, description.field_of_view)
    return (
        lambda: scan.score(file, model).measurement.scores,
        lambda: scan.measure(model, conformed).scores,
        _monai(model, conformed.image),
    )


def _monai(model, image: np.ndarray) -> Call:
    """Sliding windows over the whole field of view, which MONAI's inferer does not leave out."""
    network = dataclasses.replace(
        model.description.network, level_head=False, source_head=False, dtype=jnp.float32
    )
    peer = torch_peer.with_parameters(network, model.params).to(device())
    tensor = torch.from_numpy(image.copy())[None, None].to(device())

    def call():
        from monai.inferers import SlidingWindowInferer  # where it is installed

        inferer = SlidingWindowInferer(model.description.patch, 64, scan.OVERLAP, mode="gaussian")
        with torch.inference_mode():
            return inferer(tensor, peer)[0].cpu().numpy()

    return call
