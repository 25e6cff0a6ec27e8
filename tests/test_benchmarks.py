"""The benchmarks' own arithmetic; the peers are tested where they are installed."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import growth, measure
from qc_jax.network import UNet, fresh_params


def test_record_holds_medians_and_quartiles():
    times = np.random.default_rng(0).uniform(1, 2, (9, 2))
    record = measure.record_of("name", "peer", times, "2^3")
    assert record.ours_seconds == pytest.approx(np.median(times[:, 0]))
    assert record.peer_high == pytest.approx(np.percentile(times[:, 1], 75))
    assert record.ratio == pytest.approx(np.median(times[:, 1]) / np.median(times[:, 0]))


def test_compare_calls_the_two_in_turn():
    calls = []
    record = measure.compare(
        "name", "peer", lambda: calls.append("ours"), lambda: calls.append("peer"), "none", 3
    )
    assert calls == ["ours", "peer"] * 5
    assert record.ours_first_seconds is not None and record.ratio > 0


def test_fitted_exponent_of_a_power_law():
    curve = growth._curve("name", "unit", [1, 2, 4, 8], [3.0 * n**1.5 for n in (1, 2, 4, 8)])
    assert curve.exponent == pytest.approx(1.5)


def test_peer_network_agrees_and_its_arithmetic_is_counted():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from experiments.benchmarks import torch_peer, training_step

    network = UNet(num_sources=2, base_features=4, depth=3)
    image = jax.random.uniform(jax.random.key(0), (1, 8, 8, 8, 1))
    params = fresh_params(network, jax.random.key(1), (8, 8, 8))
    torch_image = torch.from_numpy(np.moveaxis(np.array(image), -1, 1).copy())
    torch_peer.check_agreement(network, params, image, torch_image)

    counter = FlopCounterMode(display=False)
    peer = torch_peer.with_parameters(network, params)
    with counter, torch.no_grad():
        peer(torch_image)
    heads = 2 * 8**3 * 4 * (2 + 3)
    expected = training_step.convolution_flops(1, 8, 4, 3) + heads
    assert counter.get_total_flops() == expected
