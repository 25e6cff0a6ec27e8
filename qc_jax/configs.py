"""The numbers by which samples are made and a plateau is noticed.

They stand on their own, without jax, so that a command line can show them at once.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How a sample is made from a scan.

    Attributes:
      patch: voxels of a patch; multiples of 2 ** (depth - 1).
      patches_per_scan: patches cut from every scan of a step.
      patch_candidates: places drawn for each patch; the first with grey matter in its middle is
        taken, or else the first: with 1, air and neck are seen as often as they fill the scan.
      artefact_rate: share of the images that carry an artefact.
      bias_field: the bias field's coefficients lie within plus and minus this; 0 for none.
      rotation: largest rotation about each axis, in degrees.
      scaling: largest change of size, as a share.
      flips: mirror axes at random.
      deformation: standard deviation, in voxels, by which control points of three heads in four are
        moved, in another pose and size each time; for label maps and the embedded population.
      teacher_input: what frozen networks see: artefact i alone, and the clean image for the task
        network (own), or the student's image (same).
    """

    patch: tuple[int, int, int] = (24, 24, 24)
    patches_per_scan: int = 1
    patch_candidates: int = 1
    artefact_rate: float = 0.5
    bias_field: float = 0.3
    rotation: float = 0.0
    scaling: float = 0.0
    flips: bool = True
    deformation: float = 0.0
    teacher_input: Literal["own", "same"] = "own"


@dataclasses.dataclass(frozen=True)
class PlateauConfig:
    """When a loss counts as no longer falling.

    Attributes:
      epsilon: first epsilon of Eq. 4; it halves with the learning rate.
      smallest_epsilon: no halving once epsilon is below this.
      window: steps whose mean loss is one observation.
      patience: observations without improvement before learning rate and epsilon are halved.
      threshold: relative improvement that counts.
    """

    epsilon: float = 0.05
    smallest_epsilon: float = 1e-3
    window: int = 50
    patience: int = 3
    threshold: float = 1e-3
