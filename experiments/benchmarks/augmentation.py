"""The k-space artefacts and the other augmentations against TorchIO and MONAI."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import monai.transforms
import numpy as np
import torch
import torchio

from experiments.benchmarks.measure import Record, compare
from qc_jax import augment


def augmentation(quick: bool) -> Iterator[Record]:
    """One image at a time, as the peers work; severities from the middle of their ranges."""
    for edge in (96,) if quick else (96, 160):
        image = jax.random.uniform(jax.random.key(0), (edge, edge, edge))
        tensor = torch.from_numpy(np.array(image))[None]
        subject = torchio.Subject(image=torchio.ScalarImage(tensor=tensor))
        shapes, repeats = f"{edge}^3", 5 if quick else 9

        spike = _torchio(torchio.RandomSpike(), subject)
        ghosting = _torchio(torchio.RandomGhosting(), subject)
        anisotropy = _torchio(torchio.RandomAnisotropy(), subject)
        rician = monai.transforms.RandRicianNoise(prob=1.0, std=0.1)

        def all_peers(tensor=tensor, transforms=(spike, anisotropy, ghosting), rician=rician):
            for transform in transforms:
                transform()
            rician(tensor)

        ours = _ours(augment.SOURCES, image)
        pair = jax.jit(lambda x: jnp.fft.irfftn(jnp.fft.rfftn(x), s=x.shape))
        for peer, theirs in [
            ("TorchIO RandomSpike alone", spike),
            ("TorchIO spike, anisotropy, ghosting and MONAI Rician noise", all_peers),
            ("a bare real FFT pair in jax", lambda image=image, pair=pair: pair(image)),
        ]:
            yield compare("spike, noise, blur and wrap", peer, ours, theirs, shapes, repeats)

        motion = _torchio(torchio.RandomMotion(), subject)
        by_source = {source.name: source for source in augment.ALL_SOURCES}
        for name, peer, theirs in [
            ("spike", "TorchIO RandomSpike", spike),
            ("noise", "MONAI RandRicianNoise", lambda t=tensor, r=rician: r(t)),
            ("blur", "TorchIO RandomAnisotropy", anisotropy),
            ("ghosting", "TorchIO RandomGhosting", ghosting),
            ("motion", "TorchIO RandomMotion", motion),
        ]:
            yield compare(name, peer, _ours((by_source[name],), image), theirs, shapes, repeats)

        field = jax.jit(lambda key, x: augment.bias_field(key, x, 0.5))
        rotate = jax.jit(lambda key, x: augment.random_transform(key, x, x, 10.0, 0.1)[0])
        for name, function, transform in [
            ("bias field", field, torchio.RandomBiasField()),
            ("rotation and scaling", rotate, torchio.RandomAffine()),
        ]:
            yield compare(
                name,
                f"TorchIO {type(transform).__name__}",
                _with_new_keys(function, image),
                _torchio(transform, subject),
                shapes,
                repeats,
            )


def _ours(sources, image):
    severities = jnp.asarray([source.severity(0.5) for source in sources])
    return _with_new_keys(
        lambda key, image: augment.apply_sources(key, image, sources, severities), image
    )


def _with_new_keys(function, image):
    keys = iter(jax.random.split(jax.random.key(1), 1000))
    return lambda: function(next(keys), image)


def _torchio(transform, subject):
    return lambda: transform(subject)
