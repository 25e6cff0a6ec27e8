"""A loss, an optimiser and a sampling of one's own, in the training step of this package.

    python examples/own_loss.py

The network learns to segment balls that are drawn on the device, spoilt by noise and blur.  Its
loss is Eq. 5 with each voxel weighted by the square root of its variance, held constant, so that
uncertain voxels do not stop to teach (Seitzer et al., "On the pitfalls of heteroscedastic
uncertainty estimation with probabilistic neural networks", ICLR 2022).
"""

import jax
import jax.numpy as jnp
import optax

from qc_jax import augment, losses, training, uncertainty
from qc_jax.network import UNet, fresh_params

EDGE, SCANS, EPSILON = 16, 4, 0.05
SOURCES = tuple(source for source in augment.ALL_SOURCES if source.name in ("noise", "blur"))
NETWORK = UNet(num_sources=len(SOURCES), base_features=4, depth=2)


def sample(key, scan, fixed):
    """A ball and its labels, `(X, Y, Z)`; the batch says nothing but how many, `fixed` nothing."""
    place_key, artefact_key = jax.random.split(key)
    grid = jnp.stack(jnp.meshgrid(*3 * [jnp.arange(EDGE)], indexing="ij"), axis=-1)
    centre = jax.random.uniform(place_key, (3,), minval=5, maxval=EDGE - 5)
    labels = (jnp.linalg.norm(grid - centre, axis=-1) < 4).astype(jnp.int32)
    image, _ = augment.compose(artefact_key, 0.1 + 0.8 * labels, SOURCES)
    return image, labels


def loss(params, samples, fixed, state):
    """Eq. 5, where the variance of a voxel takes only half of its say away."""
    images, labels = samples
    logits, log_variance = NETWORK.apply(params, images[..., None])
    voxels = losses.combined_loss(logits, labels, log_variance, EPSILON)
    total = jax.lax.stop_gradient(uncertainty.total_variance(log_variance))
    right = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
    return jnp.mean(voxels * jnp.sqrt(total + EPSILON)), {"right": right}


def main(steps: int = 60) -> list[float]:
    """Trains, and returns the loss of every step."""
    mesh = training.data_mesh()
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))
    step = training.train_step(mesh, sample, loss, optimiser)
    params = fresh_params(NETWORK, jax.random.key(0), (EDGE, EDGE, EDGE))
    state = jax.device_put(training.init_state(params, optimiser), training.replicated(mesh))
    batch, found = {"index": jnp.arange(SCANS * mesh.size)}, []
    for number in range(steps):
        state, metrics = step(state, jax.random.key(1), batch, None)
        found.append(float(metrics["loss"]))
        if number % 10 == 9:
            print(f"step {number + 1}: loss {found[-1]:.3f}, right {float(metrics['right']):.2f}")
    return found


if __name__ == "__main__":
    main()
