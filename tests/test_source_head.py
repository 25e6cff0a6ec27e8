"""Log-variances at the scale of the damage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qc_jax import native
from qc_jax.network import UNet
from qc_jax.source_head import Evidence, SourceHead, no_evidence


@pytest.fixture(scope="module")
def head():
    module = SourceHead(2)
    local = jnp.zeros((1, 4, 5, 6, 7))
    params = module.init(jax.random.key(0), local, no_evidence(1, 6))
    random = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(x.size), x.shape) / np.sqrt(len(x)), params
    )
    return lambda local, evidence: np.asarray(module.apply(random, local, evidence))


def evidence(seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = [x.shape for x in no_evidence(1, 6)]
    return Evidence(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)))


def local_features():
    return jax.random.normal(jax.random.key(9), (1, 4, 5, 6, 7))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_a_slice_says_reaches_its_own_cells_alone(head, axis):
    local, seen = local_features(), evidence()
    other = seen._replace(slices=seen.slices.at[0, axis, 2].add(3.0))
    change = np.abs(head(local, other) - head(local, seen)).sum(axis=-1)[0]
    along = change.max(axis=tuple(a for a in range(3) if a != axis))
    assert along[2] > 1e-3 and np.delete(along, 2).max() == 0


def test_turning_a_head_turns_the_answer(head):
    """No axis is special, since a scanner can encode any of them by phase."""
    local, seen = local_features(), evidence()
    turned = Evidence(seen.scan, seen.axes[:, [1, 2, 0]], seen.slices[:, [1, 2, 0]])
    found = head(jnp.transpose(local, (0, 2, 3, 1, 4)), turned)
    np.testing.assert_allclose(found, head(local, seen).transpose(0, 2, 3, 1, 4), atol=1e-5)


def test_the_network_takes_its_sources_from_the_head_and_adds_to_the_task():
    network = UNet(num_sources=2, base_features=2, depth=2, level_head=True, source_head=True)
    image = jax.random.uniform(jax.random.key(0), (2, 8, 8, 8, 1))
    params = network.init(jax.random.key(1), image)
    out = params["params"]["sources"]["out"]
    out["kernel"] = jnp.zeros_like(out["kernel"])
    out["bias"] = jnp.array([0.5, -1.0, -2.0])
    logits, log_variance = network.apply(params, image, evidence=no_evidence(2, 4))
    plain = {"params": {k: v for k, v in params["params"].items() if k != "sources"}}
    same, without = network.clone(source_head=False).apply(plain, image)
    np.testing.assert_allclose(logits, same, atol=1e-6)
    np.testing.assert_allclose(log_variance[..., 0], without[..., 0] + 0.5, atol=1e-5)
    np.testing.assert_allclose(log_variance[..., 1:], np.broadcast_to([-1, -2], (2, 8, 8, 8, 2)))


def test_sizes_are_those_of_the_descriptions():
    found = native.describe(np.random.default_rng(0).random((8, 8, 8)), (1, 1, 1))
    empty = no_evidence(1, 4)
    assert empty.axes.shape[1:] == found.axes.shape
    assert empty.slices.shape[-1] == found.slices[0].shape[1]
