"""Heads to train and to evaluate on: the embedded population, label maps, image/label pairs."""

from qc_jax.data.loader import (
    Subject,
    batches,
    clean_scans,
    load_subjects,
    read_any_split,
    read_split,
    split_subjects,
    stacked_fractions,
)

__all__ = [
    "Subject",
    "batches",
    "clean_scans",
    "load_subjects",
    "read_any_split",
    "read_split",
    "split_subjects",
    "stacked_fractions",
]
