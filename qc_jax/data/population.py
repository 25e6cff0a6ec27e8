"""The embedded population: heads made from the MNI152 template that nilearn ships.

The template is skull-stripped, real scans are not: fluid, bone, soft tissue and fat are laid around
the brain as shells.  Every subject is the template under a smooth diffeomorphism (a stationary
velocity field, integrated by scaling and squaring, whose Jacobian is checked to be positive) and an
affine change of size and pose.  The population depends on its settings alone and is cached with a
checksum.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from qc_jax.augment import tissues
from qc_jax.augment.tissues import TISSUES
from qc_jax.data import cache, deformation
from qc_jax.extras import extra

_COARSE = 2
"""Grid of the template while it is deformed, in mm: an eighth of its memory and time."""


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """What determines the population.

    Attributes:
      subjects: how many.
      voxel_size: of the isotropic grid, in mm.
      field_of_view: voxels along x, y and z.
      seed: of all that is random.
    """

    subjects: int
    voxel_size: float
    field_of_view: tuple[int, int, int]
    seed: int = 0

    def digest(self) -> str:
        """Names the cached file; changes with the settings and with the nilearn release."""
        with extra("train"):
            import nilearn
        text = f"2 {self} nilearn {nilearn.__version__}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_population(config: PopulationConfig, folder: Path) -> dict[str, np.ndarray]:
    """Subjects by name, `(X, Y, Z, T)` uint8 fractions each; made once and kept in `folder`."""
    path = folder / f"population-{config.digest()}.npy"
    fractions = cache.load_or_make(path, lambda: np.stack(list(make_subjects(config))))
    return {f"sub-{i + 1:03d}": subject for i, subject in enumerate(fractions)}


def make_subjects(config: PopulationConfig) -> Iterator[np.ndarray]:
    """Yields the fractions of one subject after the other, `(X, Y, Z, T)` uint8."""
    template = _template()
    # The voxel averages over its own size: without it a coarse grid would alias thin sheets.
    sigma = 0.5 * max(config.voxel_size / _COARSE - 0.6, 0.0)
    if sigma:
        template = np.stack([ndimage.gaussian_filter(tissue, sigma) for tissue in template])
    for index in range(config.subjects):
        rng = np.random.default_rng([config.seed, index])
        yield _subject(rng, template, config)


@functools.cache
def _template() -> np.ndarray:
    """Tissue fractions of the template, `(T, X, Y, Z)` float32 on a grid of `_COARSE` mm."""
    with extra("train"):
        import nilearn.datasets
    load = lambda image: np.asarray(image.dataobj, np.float32)  # noqa: E731
    grey = load(nilearn.datasets.load_mni152_gm_template(resolution=_COARSE))
    white = load(nilearn.datasets.load_mni152_wm_template(resolution=_COARSE))
    t1 = load(nilearn.datasets.load_mni152_template(resolution=_COARSE))
    margin = round(30 / _COARSE)
    grey, white, t1 = (np.pad(np.clip(x, 0, 1), margin) for x in (grey, white, t1))

    brain = ndimage.binary_fill_holes(ndimage.binary_closing(t1 > 0.05, iterations=2))
    outside = ndimage.distance_transform_edt(~brain) * _COARSE
    fractions = dict.fromkeys(TISSUES, np.zeros((), np.float32))
    inside = ndimage.gaussian_filter(brain.astype(np.float32), 0.5)
    fractions["grey_matter"], fractions["white_matter"] = grey, white
    fractions["fluid"] = np.clip(np.where(outside < 3, 1.0, inside) - grey - white, 0, 1)
    # Thickness of the shells in mm, beyond the fluid: bone to 9, soft tissue to 12, fat to 16.
    for tissue, start, end in (("bone", 3, 9), ("soft_tissue", 9, 12), ("fat", 12, 16)):
        fractions[tissue] = ((outside >= start) & (outside < end)).astype(np.float32)
    stacked = np.stack([np.broadcast_to(fractions[t], grey.shape) for t in TISSUES])
    stacked[0] = np.clip(1 - stacked.sum(axis=0), 0, 1)
    return (stacked / stacked.sum(axis=0)).astype(np.float32)


def _subject(rng: np.random.Generator, template: np.ndarray, config: PopulationConfig):
    shape = template.shape[1:]
    displacement = deformation.diffeomorphism(rng, shape, _COARSE)
    affine = deformation.random_affine(rng)
    coordinates = deformation.origins(
        affine, displacement, config.field_of_view, config.voxel_size / _COARSE, (0, 0, -2)
    )
    fractions = np.stack(
        [
            ndimage.map_coordinates(
                tissue, coordinates, order=1, mode="constant", cval=float(index == 0)
            )
            for index, tissue in enumerate(template)
        ],
        axis=-1,
    )
    return tissues.to_bytes(fractions / fractions.sum(axis=-1, keepdims=True))
