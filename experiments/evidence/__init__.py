"""The paper's experiments on held-back subjects: `python -m experiments.evidence`."""
