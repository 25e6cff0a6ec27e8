"""A model and a head small enough to try many things in a minute: 8 mm, an untrained network."""

from pathlib import Path

import jax
import numpy as np

from qc_jax import augment, models
from qc_jax.augment import tissues
from qc_jax.data import population
from qc_jax.network import fresh_params
from qc_jax.scoring import calibration

SOURCES = tuple(source.name for source in augment.ALL_SOURCES)


def known_scans(
    rng: np.random.Generator, subjects: int = 4, draws: int = 40
) -> list[calibration.KnownScan]:
    """Scores as a decoupled model would give them: each artefact raises its own and lowers Dice."""
    scans = []
    for index in range(subjects * draws):
        cause = [None, *SOURCES][index % (1 + len(SOURCES))]
        fraction = rng.uniform(0.2, 1.0)
        logs = 0.2 * rng.standard_normal(1 + len(SOURCES))
        if cause:
            logs[1 + SOURCES.index(cause)] += 4 * fraction
        bar = rng.uniform(5, 20)
        dice = 0.9 - 0.6 * fraction * (cause is not None) + 0.01 * rng.standard_normal()
        scans.append(
            calibration.KnownScan(
                subject=f"sub-{index % subjects}",
                artefact=cause,
                fraction=fraction if cause else 0.0,
                scores=np.exp(logs),
                local_scores=np.exp(logs + 0.5),
                expected_dice=float(np.clip(dice + 0.1 * rng.standard_normal(), 0, 1)),
                dice=dice,
                kept=0.99 if cause is None else 0.9 - 0.5 * fraction,
                volume=600 + bar * rng.standard_normal(),
                clean_volume=600.0,
                volume_uncertainty=bar,
            )
        )
    return scans


def write_model(path: Path) -> Path:
    """Weights of an untrained student with a calibration that was fitted to made-up scores."""
    description = models.Description(
        SOURCES, 2, 2, True, (8, 8, 8), voxel_size=8.0, field_of_view=(24, 28, 24)
    )
    params = fresh_params(description.network, jax.random.key(0), description.patch)
    known = calibration.fit(known_scans(np.random.default_rng(0)), SOURCES)
    models.save_model(path, description, params, {"steps": "none"}, known)
    return path


def make_head() -> np.ndarray:
    """`(24, 30, 24)` image of a head at 8 mm."""
    fractions = next(population.make_subjects(population.PopulationConfig(1, 8.0, (24, 30, 24))))
    return np.asarray(tissues.draw_image(jax.random.key(0), fractions))
