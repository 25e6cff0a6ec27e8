"""How the cost of a training step grows, with exponents fitted on the logarithms."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.ticker import NullLocator

from experiments.benchmarks.measure import in_fresh_process, seconds
from qc_jax import augment, losses, training
from qc_jax.network import UNet, fresh_params


@dataclasses.dataclass(frozen=True)
class Curve:
    """Seconds over a size.

    Attributes:
      name: what grows.
      unit: of the sizes.
      sizes: measured.
      seconds: median of each.
      exponent: of the fitted power law.
    """

    name: str
    unit: str
    sizes: list[int]
    seconds: list[float]
    exponent: float


def step_seconds(
    edge: int = 16,
    features: int = 8,
    sources: int = 0,
    devices: int = 1,
    frozen: bool = True,
    batch: int = 1,
) -> float:
    """Median seconds of a training step; with sources, of the student beside its teachers."""
    all_sources = tuple(
        dataclasses.replace(augment.SOURCES[i % 4], name=f"source_{i}") for i in range(sources)
    )
    network = UNet(num_sources=sources, base_features=features, depth=3)
    config = training.SampleConfig(patch=(edge, edge, edge))

    def params_of(seed, sources):
        net = network.clone(num_sources=sources)
        return fresh_params(net, jax.random.key(seed), config.patch)

    nets = training.Frozen()
    if sources and frozen:
        teachers = tuple(params_of(1 + i, 1) for i in range(sources))
        nets = training.Frozen(params_of(0, 0), teachers)

    def sample(key, scan, nets):
        return training.make_sample(
            key, scan["image"], scan["labels"], all_sources, config, bool(nets.teachers)
        )

    def loss(params, samples, nets, state):
        segment = functools.partial(losses.combined_loss, epsilon=0.05)
        return training.stage_loss(params, samples, network, nets, segment)

    mesh, optimiser = training.data_mesh(devices), optax.adam(1e-3)
    step = training.train_step(mesh, sample, loss, optimiser)
    image = jax.random.uniform(jax.random.key(0), (batch, edge, edge, edge))
    data = {
        "image": image,
        "labels": (image > 0.5).astype(jnp.int32),
        "index": jnp.arange(batch, dtype=jnp.int32),
    }
    state = training.init_state(params_of(9, sources), optimiser)
    held = [jax.device_put(state, training.replicated(mesh))]
    nets = jax.device_put(nets, training.replicated(mesh))

    def call():
        held[0], metrics = step(held[0], jax.random.key(1), data, nets)
        return metrics["loss"]

    call(), call()
    return float(np.median([seconds(call) for _ in range(5)]))


def growth(quick: bool) -> Iterator[Curve]:
    """The curves one after the other."""
    edges = [16, 32] if quick else [32, 48, 64, 96, 128]
    yield _curve("patch", "edge in voxels", edges, [step_seconds(edge=e) for e in edges])
    features = [8, 16] if quick else [8, 12, 16, 24, 32]
    yield _curve(
        "base features", "channels", features, [step_seconds(32, features=f) for f in features]
    )
    numbers = [1, 2] if quick else [1, 2, 4, 8]
    for frozen, name in [(True, "sources, student with its teachers"), (False, "sources, alone")]:
        times = [step_seconds(24, sources=n, frozen=frozen, batch=4) for n in numbers]
        yield _curve(name, "sources", numbers, times)
    # The same two cores behind all of them: what the sharding costs, not what it gains.
    devices = [1, 2] if quick else [1, 2, 4, 8]
    times = [
        in_fresh_process(
            "import json\n"
            "from experiments.benchmarks import growth\n"
            f"print(json.dumps(growth.step_seconds(16, devices={n}, batch=8)))",
            XLA_FLAGS=f"--xla_force_host_platform_device_count={n}",
        )
        for n in devices
    ]
    yield _curve("virtual devices, batch 8 in all", "devices", devices, times)


def memory_of_many_scans(numbers: list[int]) -> dict[int, float]:
    """Peak memory in MB after so many scans of 64^3 in one process."""
    return {
        int(n): megabytes
        for n, megabytes in in_fresh_process(
            "import json\n"
            "import numpy as np\n"
            "from experiments.benchmarks import measure, whole_scan\n"
            "from qc_jax import scoring\n"
            "network, params = whole_scan.network()\n"
            "peak, done = {}, 0\n"
            f"for number in {numbers}:\n"
            "    while done < number:\n"
            "        scan = np.random.default_rng(done).random((64, 64, 64), np.float32)\n"
            "        scoring.predict(network, params, scan, (32, 32, 32))\n"
            "        done += 1\n"
            "    peak[number] = measure.peak_megabytes()\n"
            "print(json.dumps(peak))"
        ).items()
    }


def plot(path: Path, curves: list[Curve]) -> None:
    """All curves on logarithmic axes."""
    figure, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.2), sharey=True)
    for axis, curve in zip(axes, curves, strict=True):
        axis.loglog(curve.sizes, curve.seconds, "o-", color="C0")
        axis.set_title(f"{curve.name}\nexponent {curve.exponent:.2f}", fontsize=8)
        axis.set_xlabel(curve.unit)
        axis.set_xticks(curve.sizes, list(map(str, curve.sizes)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds per training step")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curve(name: str, unit: str, sizes: list[int], times: list[float]) -> Curve:
    exponent = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
    return Curve(name, unit, sizes, times, exponent)
