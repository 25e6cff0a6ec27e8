"""From maps to numbers: overlap, head mask and the scan's score for each source."""

import numpy as np
from scipy import ndimage


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two masks, in [0, 1]; higher is better; 1 for two empty ones."""
    size = predicted.sum() + truth.sum()
    return float(2 * np.logical_and(predicted, truth).sum() / size) if size else 1.0


def head_mask(image: np.ndarray) -> np.ndarray:
    """The head in a scan: the largest part above a fifth of the bright tissue, holes filled.

    Args:
      image: `(X, Y, Z)`, in [0, 1].

    Returns:
      `(X, Y, Z)` bool; everything where nothing stands out.
    """
    smooth = ndimage.gaussian_filter(image, 1.0)
    parts, number = ndimage.label(smooth > 0.2 * np.percentile(smooth, 98))
    if not number:
        return np.ones(image.shape, bool)
    largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return ndimage.binary_fill_holes(ndimage.binary_closing(parts == largest, iterations=2))


def source_scores(variances: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean variance of the task and of each source over a mask; lower is better.

    A mean, not a sum, so that scans of different size compare.

    Args:
      variances: `(X, Y, Z, 1 + N)`.
      mask: `(X, Y, Z)` bool, see `head_mask`.

    Returns:
      `(1 + N,)`.
    """
    return variances[mask].mean(axis=0)
