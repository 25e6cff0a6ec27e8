"""A whole head through the network, against MONAI's sliding windows: time, memory, start."""

import tempfile
from collections.abc import Iterator

import jax
import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from nilearn.datasets import load_mni152_template

from experiments.benchmarks import torch_peer
from experiments.benchmarks.measure import Record, compare, in_fresh_process, record_of
from qc_jax import scoring
from qc_jax.network import UNet, fresh_params

_WINDOW, _OVERLAP, _BATCH = (32, 32, 32), 0.25, 8


def head(resolution: float) -> np.ndarray:
    """The MNI152 template, `(X, Y, Z)` in [0, 1]."""
    image = load_mni152_template(resolution=resolution).get_fdata(dtype=np.float32)
    return np.maximum(image, 0) / image.max()


def network() -> tuple[UNet, dict]:
    """As in the preset `demo` less the level head; its parameters are not trained."""
    net = UNet(num_sources=4, base_features=8, depth=3)
    return net, fresh_params(net, jax.random.key(0), _WINDOW)


def predict_ours(image: np.ndarray, mask: np.ndarray | None = None):
    """Our predictor as a call without arguments."""
    net, params = network()
    return lambda: scoring.predict(net, params, image, _WINDOW, _OVERLAP, _BATCH, mask)


def predict_peer(image: np.ndarray):
    """MONAI's with the same network, windows and blended quantities."""
    net, params = network()
    peer = torch_peer.with_parameters(net, params)
    inferer = SlidingWindowInferer(_WINDOW, _BATCH, _OVERLAP, mode="gaussian")
    tensor = torch.from_numpy(image)[None, None]

    def probabilities_and_variances(windows):
        outputs = peer(windows)
        variances = torch.exp(outputs[:, net.num_classes :])
        total = variances.sum(dim=1, keepdim=True)
        scaled = torch.softmax(outputs[:, : net.num_classes] / total, dim=1)
        return torch.cat([scaled, variances], dim=1)

    def call():
        with torch.inference_mode():
            return inferer(tensor, probabilities_and_variances)[0].numpy()

    return call


def whole_scan(quick: bool) -> Iterator[Record]:
    """A 1 mm head (2 mm if quick), all of it and inside the head only; then memory and start."""
    resolution = 2 if quick else 1
    image = head(resolution)
    mask = scoring.head_mask(image, resolution)
    shapes = f"{'x'.join(map(str, image.shape))}, windows of {_WINDOW[0]}^3, overlap {_OVERLAP}"
    megabytes = {
        f"{who}_megabytes": in_fresh_process(
            "import json\n"
            "from experiments.benchmarks import measure, whole_scan\n"
            f"call = whole_scan.predict_{who}(whole_scan.head({resolution}))\n"
            "before = measure.peak_megabytes()\n"
            "call()\n"
            "print(json.dumps(measure.peak_megabytes() - before))"
        )
        for who in ("ours", "peer")
    }
    theirs, peer = predict_peer(image), "MONAI SlidingWindowInferer"
    yield compare("whole scan", peer, predict_ours(image), theirs, shapes, 3, megabytes)
    yield compare(
        "whole scan, windows on the head", peer, predict_ours(image, mask), theirs, shapes, 3
    )

    times = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (_first_window(folder) for _ in range(2))
            times.append((warm, cold))
    yield record_of("first window, compilation cache filled", "cache empty", times, f"{_WINDOW}")


def _first_window(cache: str) -> float:
    """Seconds from the call to its result in a new process with a persistent compilation cache."""
    return in_fresh_process(
        "import json\n"
        "from experiments.benchmarks import measure, whole_scan\n"
        "call = whole_scan.predict_ours(whole_scan.head(2)[:32, :32, :32].copy())\n"
        "print(json.dumps(measure.seconds(call)))",
        JAX_COMPILATION_CACHE_DIR=cache,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
