"""Experiments with qc_jax: they import the library, never the other way round."""
