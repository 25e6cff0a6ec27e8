"""The same weights on artefacts of another simulator: TorchIO, at ten severities."""

import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import kept
from experiments.evidence.intervals import bootstrap, spearman, youden
from experiments.evidence.measurements import randomness_of
from qc_jax import data
from qc_jax.models import Model
from qc_jax.scoring.scan import measure, on_grid

SEVERITIES = np.linspace(0.1, 1.0, 10)
CHANNELS = {
    "blur": "blur",
    "ghosting": "ghosting",
    "motion": "motion",
    "noise": "noise",
    "spike": "spike",
}
"""TorchIO's artefact and the source that has to answer."""


def transform(artefact: str, severity: float):
    """TorchIO's transform at 0 to 1: the ends are mild and severe to the eye."""
    import torchio

    return {
        "blur": lambda: torchio.RandomBlur(std=(4 * severity,) * 2),
        "ghosting": lambda: torchio.RandomGhosting(intensity=(2 * severity,) * 2),
        "motion": lambda: torchio.RandomMotion(
            degrees=(10 * severity,) * 2, translation=(10 * severity,) * 2
        ),
        "noise": lambda: torchio.RandomNoise(std=(0.3 * severity,) * 2),
        "spike": lambda: torchio.RandomSpike(intensity=(3 * severity,) * 2),
    }[artefact]()


def torchio_results(
    model: Model,
    subjects: Sequence[data.Subject],
    draws: int,
    seed: int,
    folder: Path,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Youden's index of the own source's score at each severity, and its rank correlation.

    What was measured is kept in a folder, see `kept.folder_for`.
    """
    names = ("task", *model.description.sources)
    clean, found = [], {name: [] for name in CHANNELS if name in names}
    for subject in subjects:
        for draw in range(draws):
            known_by = f"torchio-{subject.name}-{draw}"
            image = subject.draw(randomness_of(subject.name, draw, seed)[1])
            of_clean = kept.load_or_make(folder, known_by, lambda i=image: _scores(model, i))
            clean.append((subject.name, of_clean))
            advance(1)
            for artefact, rows in found.items():

                def make(image=image, artefact=artefact, known_by=known_by):
                    seed_of_all = zlib.crc32(f"{seed} {known_by} {artefact}".encode())
                    return [_scores(model, bad) for bad in _spoilt(image, artefact, seed_of_all)]

                scores = kept.load_or_make(folder, f"{known_by}-{artefact}", make)
                severities = SEVERITIES.tolist()
                rows += [(subject.name, *at) for at in zip(severities, scores, strict=True)]
                advance(len(scores))
    results = {}
    for artefact, rows in found.items():
        channel = names.index(CHANNELS[artefact])
        own = [(name, score[channel]) for name, score in clean]
        results[artefact] = {
            "spearman": bootstrap(
                spearman,
                [name for name, _, _ in rows],
                [severity for _, severity, _ in rows],
                [score[channel] for _, _, score in rows],
            ),
            "youden": [
                {"severity": float(at)}
                | bootstrap(
                    youden,
                    [n for n, _ in own] + [n for n, s, _ in rows if s == at],
                    [False] * len(own) + [True for _, s, _ in rows if s == at],
                    [v for _, v in own] + [score[channel] for _, s, score in rows if s == at],
                )
                for at in SEVERITIES
            ],
        }
    return results


def _spoilt(image: np.ndarray, artefact: str, seed: int) -> Iterator[np.ndarray]:
    """The image with TorchIO's artefact at each of the severities."""
    seed_with(seed)
    for severity in SEVERITIES:
        bad = spoilt(image, artefact, severity)
        yield bad / bad.max()


def seed_with(seed: int) -> None:
    """Everything random of TorchIO follows from it."""
    import torch

    torch.manual_seed(seed)


def spoilt(
    image: np.ndarray, artefact: str, severity: float, affine: np.ndarray | None = None
) -> np.ndarray:
    """An image `(X, Y, Z)`, about 1 where it is bright, with TorchIO's artefact; not negative.

    Lengths are in mm where the affine, `(4, 4)`, is given, in voxels otherwise.
    """
    import torch
    import torchio

    tensor = torchio.ScalarImage(tensor=torch.tensor(image)[None], affine=affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peer
        return np.maximum(transform(artefact, severity)(tensor).data[0].numpy(), 0)


def _scores(model: Model, image: np.ndarray) -> list[float]:
    conformed = on_grid(image.astype(np.float32), model.description.voxel_size)
    return measure(model, conformed).scores.tolist()
