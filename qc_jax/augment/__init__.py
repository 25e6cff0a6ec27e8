"""Artefacts and augmentations as pure functions of a key; needs jax alone."""

from qc_jax.augment.acquisition import KINDS, Kind, acquire
from qc_jax.augment.blur import BLUR
from qc_jax.augment.fold_over import head_box, narrow, random_narrow
from qc_jax.augment.ghosting import GHOSTING
from qc_jax.augment.intensity import apply_bias_field, bias_field, normalise, rescale
from qc_jax.augment.kspace import filter_lines, to_image, to_k_space
from qc_jax.augment.mixture import apply_sources, compose, corrupt, draw_severities
from qc_jax.augment.motion import MOTION
from qc_jax.augment.noise import NOISE
from qc_jax.augment.protocol import Axes, Protocol, draw_protocol
from qc_jax.augment.source import Source
from qc_jax.augment.spatial import flip, random_flip, random_transform, transform
from qc_jax.augment.spike import SPIKE
from qc_jax.augment.wrap import WRAP

SOURCES: tuple[Source, ...] = (SPIKE, NOISE, BLUR, WRAP)
"""The paper's sources, in the order in which they arise in the scanner."""
ALL_SOURCES: tuple[Source, ...] = (MOTION, SPIKE, NOISE, GHOSTING, BLUR, WRAP)
"""Every source of this package, in the order in which they arise in the scanner."""

__all__ = [
    "ALL_SOURCES",
    "BLUR",
    "GHOSTING",
    "KINDS",
    "MOTION",
    "NOISE",
    "SOURCES",
    "SPIKE",
    "WRAP",
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
