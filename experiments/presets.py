"""What can be configured, and the presets.

    python -m experiments.run --stage=teachers                        # demo, on two CPU cores
    python -m experiments.run --stage=all --preset=gpu --run-dir=runs/gpu
    python -m experiments.run --stage=all --preset=paper --run-dir=runs/paper --data=DIR

This module does without jax, so that `--help` answers at once.
"""

import dataclasses
from typing import Literal

from tyro.conf import OmitArgPrefixes

from qc_jax.configs import PlateauConfig, SampleConfig

Until = Literal["task", "teachers", "student", "all", "evaluate"]


@dataclasses.dataclass(frozen=True)
class HeadsConfig:
    """The heads to learn from."""

    data: str = ""
    """Images and labels: empty for the embedded population, DIR for pairs (BIDS or plain),
    labels:DIR for label maps with FreeSurfer's numbers, from which images are drawn, packed:FILE
    for what experiments.pack made of them."""
    grey_matter_labels: tuple[int, ...] = ()
    """Numbers that are grey matter in the labels of --data=DIR, say 2 for those of FSL FAST; needed
    where the numbers can be read in several ways and no *_dseg.tsv says what they mean."""
    split: str = ""
    """JSON file with the subjects' names for train, validation and test; empty for 80/10/10."""
    subjects: int = 40
    """Size of the embedded population."""
    voxel_size: float = 3.0
    """Edge of a voxel, in mm."""
    field_of_view: tuple[int, int, int] = (64, 80, 64)
    """Voxels of a whole scan."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The U-Net; its fields are those of `qc_jax.network.UNet`."""

    base_features: int = 8
    """Channels of the first level of the U-Net."""
    depth: int = 3
    """Levels of the U-Net."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the features in training; parameters, statistics and losses are float32."""
    level_head: bool = True
    """Let the variances see the spread of the encoder's channels, which instance norm removes."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """How a variance is compared to that of the frozen network that knows it (Eq. 7)."""

    consistency_of: Literal["variance", "log_variance"] = "variance"
    """What is compared: of log-variances the large ones do not rule the term."""
    norm: Literal[1, 2] = 1
    """1 for Eq. 7 as it stands, 2 for the mean square in the place of L1: with L1 the student
    learns of each source what most images have of it, which is nothing."""
    weight: float = 1.0
    """Weight of every consistency term."""
    gradient_weight: float = 1.0
    """Weight of L_grad in Eq. 7."""
    ssim_weight: float = 0.1
    """Weight of L_SSIM in Eq. 7."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines a run; a run folder keeps it and refuses another one."""

    sources: tuple[str, ...] = ("spike", "noise", "blur", "wrap")
    """Artefacts to learn: any of motion, spike, noise, ghosting, blur and wrap, and of your own as
    package.module:NAME."""
    seed: int = 0
    """Of everything random."""
    batch_size: int = 8
    """Scans in a step and per device."""
    steps_task: int = 700
    """Training steps of the task network."""
    steps_teachers: int = 700
    """Training steps of each teacher."""
    steps_student: int = 1000
    """Training steps of the student."""
    learning_rate: float = 2e-3
    """Of Adam, before the plateau rule halves it."""
    learning_rate_decay: bool = True
    """Let it fall to zero over the steps of a stage, as (1 - step / steps)^0.9, beside the rule."""
    warm_up: int = 200
    """First steps of the task network that use the plain cross-entropy."""
    start_from_task: bool = True
    """Teachers and student start from the task network's parameters."""
    absent_source: Literal["teacher", "zero"] = "zero"
    """What the student's variance of a source that the image does not carry is compared to: what
    the teacher says of the clean image, or zero."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between metrics."""
    evaluation_draws: int = 6
    """Draws of contrast and artefact for each validation subject."""
    overlap: float = 0.0
    """Least overlap of the patches when task network and teachers are evaluated; the student's is
    that of the scoring, a quarter."""

    heads: OmitArgPrefixes[HeadsConfig] = HeadsConfig()
    """The heads to learn from."""
    sample: OmitArgPrefixes[SampleConfig] = dataclasses.field(default_factory=SampleConfig)
    """How samples are made from them."""
    network: OmitArgPrefixes[NetworkConfig] = NetworkConfig()
    """The U-Net."""
    plateau: PlateauConfig = dataclasses.field(default_factory=PlateauConfig)
    """When a loss counts as no longer falling."""
    teacher_loss: LossConfig = LossConfig()
    """How a teacher's task variance is compared to that of the task network (Eq. 7)."""
    student_loss: LossConfig = LossConfig(consistency_of="log_variance", norm=2)
    """How each of the student's variances is compared to that of its teacher (Eq. 7)."""


PRESETS: dict[str, Config] = {
    # `python -m experiments.run --stage=teachers`, two CPU cores; docs/training.md has the figures.
    "demo": Config(),
    # One GPU; with --data=labels:DIR --split=FILE how the weights in the package were trained, with
    # 1900 steps of the student then.
    "gpu": Config(
        sources=("motion", "spike", "noise", "ghosting", "blur", "wrap"),
        batch_size=16,
        steps_task=1800,
        steps_teachers=400,
        steps_student=3300,
        warm_up=300,
        checkpoint_every=500,
        log_every=50,
        overlap=0.25,
        heads=HeadsConfig(voxel_size=2.0, field_of_view=(96, 112, 96)),
        sample=SampleConfig(
            patch=(32, 32, 32),
            patches_per_scan=4,
            patch_candidates=4,
            artefact_rate=0.65,
            deformation=1.0,
        ),
        network=NetworkConfig(base_features=16, depth=4, dtype="bfloat16"),
        plateau=PlateauConfig(window=100, patience=5),
    ),
    # Section 5 of the paper: 96^3, batch 2 on each of 4 GPUs, 30 000 steps for each network.
    "paper": Config(
        batch_size=2,
        steps_task=30_000,
        steps_teachers=30_000,
        steps_student=30_000,
        learning_rate=1e-4,
        learning_rate_decay=False,
        warm_up=0,
        absent_source="teacher",
        checkpoint_every=1000,
        log_every=100,
        overlap=0.25,
        heads=HeadsConfig(subjects=272, voxel_size=1.0, field_of_view=(192, 240, 192)),
        sample=SampleConfig(patch=(96, 96, 96), rotation=10.0, scaling=0.1),
        network=NetworkConfig(base_features=30, depth=5, level_head=False),
        plateau=PlateauConfig(window=100, patience=5),
        student_loss=LossConfig(),
    ),
}
