"""Artefacts and augmentations as pure functions of a key; needs jax alone."""

from qc_jax.augment.acquisition import KINDS, Kind, acquire
from qc_jax.augment.fold_over import head_box, narrow, random_narrow
from qc_jax.augment.ghosting import GHOSTING
from qc_jax.augment.intensity import apply_bias_field, bias_field, normalise, rescale
from qc_jax.augment.kspace import SOURCES, Source, filter_lines, to_image, to_k_space
from qc_jax.augment.mixture import apply_sources, compose, corrupt, draw_severities
from qc_jax.augment.motion import MOTION
from qc_jax.augment.protocol import Axes, Protocol, draw_protocol
from qc_jax.augment.spatial import flip, random_flip, random_transform, transform

ALL_SOURCES: tuple[Source, ...] = (MOTION, *SOURCES[:2], GHOSTING, *SOURCES[2:])
"""Every source of this package, in the order in which they arise in the scanner."""

__all__ = [
    "ALL_SOURCES",
    "GHOSTING",
    "KINDS",
    "MOTION",
    "SOURCES",
    "Axes",
    "Kind",
    "Protocol",
    "Source",
    "acquire",
    "apply_bias_field",
    "apply_sources",
    "bias_field",
    "compose",
    "corrupt",
    "draw_protocol",
    "draw_severities",
    "filter_lines",
    "flip",
    "head_box",
    "narrow",
    "normalise",
    "random_flip",
    "random_narrow",
    "random_transform",
    "rescale",
    "to_image",
    "to_k_space",
    "transform",
]
