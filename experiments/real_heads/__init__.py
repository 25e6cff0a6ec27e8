"""What a model says of real heads, as they are and spoilt: `python -m experiments.real_heads`."""
