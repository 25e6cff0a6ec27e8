"""Otsu's threshold, as scikit-image has it, which is 80 MB with all that comes along."""

import numpy as np

_BINS = 256


def threshold(values: np.ndarray) -> float:
    """The threshold that parts dark values from bright ones best (Otsu 1979).

    Args:
      values: `(n,)` float, finite, at least one.

    Returns:
      The middle of that of 256 bins from which on the variance between both parts is largest; the
      value itself where there is but one.

    Reference: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions
    on Systems, Man, and Cybernetics 9, 1979.
    """
    if np.all(values == values[0]):
        return values[0]
    counts, edges = np.histogram(values, _BINS)
    counts, centres = counts.astype(np.float32), (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centres) / below
    mean_above = (np.cumsum((counts * centres)[::-1]) / above[::-1])[::-1]
    between = below[:-1] * above[1:] * np.square(mean_below[:-1] - mean_above[1:])
    return centres[np.argmax(between)]
