"""Drift: an artefact of one's own, in a file like those of `qc_jax/augment/`.

    python examples/own_source.py
    python -m experiments.run --stage=all --sources noise blur examples.own_source:DRIFT

In the scanner: the receiver warms up, and its gain changes while the lines of k-space are acquired.

How it looks: a gain that rises from one end of k-space to the other adds, a quarter of a cycle out
of phase, the derivative of the image along that axis, so that edges across it are too bright.

    K'(k) = K(k) (1 + severity k / n) for line k of n
"""

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from qc_jax import augment


def add_drift(k_space: jax.Array, axis: jax.Array | int, severity: jax.Array | float) -> jax.Array:
    """Lines along `axis`, the last acquired stronger by `severity` than the first; 0 is none."""
    return augment.filter_lines(k_space, axis, lambda lines: 1 + severity * lines / len(lines))


def drift(key: jax.Array, k_space: jax.Array, severity: jax.Array) -> jax.Array:
    """Drift along a random axis."""
    return add_drift(k_space, jax.random.randint(key, (), 0, 3), severity)


DRIFT = augment.Source(
    name="drift",
    apply=drift,
    mild=0.1,
    severe=1.5,
    none=0.0,
    unit="change of the gain over the scan",
    looks="Edges across one direction are too bright.",
)


def main(image: jax.Array, path: str = "drift.png") -> None:
    """Draws a scan `(X, Y, Z)` in [0, 1], drift in it, what that changed, and noise as well."""
    both = (augment.NOISE, DRIFT)
    shown = {"clean": image}
    severe = augment.corrupt(jax.random.key(0), image, DRIFT, 1.0)
    shown[f"drift {DRIFT.severe:.2g}"] = severe
    shown["what it changed, brighter"] = abs(severe - image)
    severities = jnp.array([source.severity(0.5) for source in both])
    shown["noise and drift"] = augment.apply_sources(jax.random.key(0), image, both, severities)
    _, axes = plt.subplots(1, len(shown), figsize=(2.4 * len(shown), 3), layout="constrained")
    for axis, (title, volume) in zip(axes, shown.items(), strict=True):
        axis.imshow(volume[:, :, volume.shape[2] // 2].T, cmap="gray", origin="lower")
        axis.set(title=title, xticks=[], yticks=[])
    plt.savefig(path, dpi=110)
    plt.close()


if __name__ == "__main__":
    from nilearn.datasets import load_mni152_template

    head = load_mni152_template(resolution=2)
    main(augment.rescale(jnp.asarray(head.get_fdata(dtype="float32"))))
