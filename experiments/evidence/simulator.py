"""The same weights on artefacts of another simulator: TorchIO, at ten severities."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Youden's index of the own source's score at each severity, and its rank correlation."""
    import torch
    import torchio

    torch.manual_seed(seed)
    names = ("task", *model.description.sources)
    clean, found = [], {name: [] for name in CHANNELS if name in names}
    for subject in subjects:
        for draw in range(draws):
            image = subject.draw(randomness_of(subject.name, draw, seed)[1])
            clean.append((subject.name, _scores(model, image)))
            advance()
            tensor = torchio.ScalarImage(tensor=torch.from_numpy(image)[None])
            for artefact, rows in found.items():
                for severity in SEVERITIES:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of the peer
                        bad = transform(artefact, severity)(tensor).data[0].numpy()
                    bad = np.maximum(bad, 0)
                    rows.append((subject.name, severity, _scores(model, bad / bad.max())))
                    advance()
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


def _scores(model: Model, image: np.ndarray) -> np.ndarray:
    return measure(model, on_grid(image.astype(np.float32), model.description.voxel_size)).scores
