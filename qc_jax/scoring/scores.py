"""From maps to numbers: overlap, head mask, scores and the volume of grey matter."""

import numpy as np
from scipy import ndimage

from qc_jax import uncertainty
from qc_jax.scoring import otsu

_HIGH = 0.95
"""Quantile that stands for the worst part of the head."""
_SMOOTHING = 6.0
"""mm; averages over enough voxels that even noise of -10 dB leaves the head visible."""


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """`2 |A and B| / (|A| + |B|)` of two masks, in [0, 1]; 1 for two empty ones."""
    size = predicted.sum() + truth.sum()
    return float(2 * np.logical_and(predicted, truth).sum() / size) if size else 1.0


def head_mask(image: np.ndarray, voxel_size: float) -> np.ndarray:
    """The head in a scan: the largest bright part of the smoothed image, holes filled.

    Args:
      image: `(X, Y, Z)`, any scale.
      voxel_size: in mm.

    Returns:
      `(X, Y, Z)` bool; everything where nothing stands out.
    """
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), _SMOOTHING / voxel_size)
    if smooth.max() <= smooth.min():
        return np.ones(image.shape, bool)
    background = np.percentile(smooth, 2)
    # Three quarters of Otsu's threshold: the best over all artefacts at their most severe.
    above = smooth > background + 0.75 * (otsu.threshold(smooth.ravel()) - background)
    parts, _ = ndimage.label(above)
    largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return ndimage.binary_fill_holes(parts == largest)


def source_scores(variances: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median of the variance of the task and of each source over a mask; lower is better.

    Scans of different size compare.  The arithmetic mean is ruled by the few voxels at the borders
    of grey matter that are doubtful on every scan.

    Args:
      variances: `(X, Y, Z, 1 + N)`.
      mask: `(X, Y, Z)` bool, see `head_mask`.

    Returns:
      `(1 + N,)`.
    """
    return np.median(variances[mask], axis=0)


def local_scores(variances: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """As `source_scores`, but what one voxel in 20 exceeds: damage to a part of the head leaves the
    median as it is."""
    return np.quantile(variances[mask], _HIGH, axis=0)


def grey_matter_volume(probability: np.ndarray, voxel_size: float) -> float:
    """Sum of the probabilities in mL; `voxel_size` in mm."""
    return float(probability.sum() * voxel_size**3 / 1000)


def expected_dice(probability: np.ndarray, mask: np.ndarray) -> float:
    """The Dice coefficient that the segmentation, `probability > 0.5`, would reach on average if
    the truth were drawn from these probabilities.

    One less it is the total uncertainty of the segmentation.

    On validation scans it followed the Dice that was reached about as closely as the geometric mean
    of the variances, and more closely than mean entropies.

    Args:
      probability: `(X, Y, Z)` of grey matter, scaled by the total variance.
      mask: `(X, Y, Z)` bool, where to look.

    Returns:
      In [0, 1]; 1 where there is no grey matter at all.
    """
    inside = probability[mask]
    found = inside > 0.5
    size = found.sum() + inside.sum()
    return float(2 * inside[found].sum() / size) if size else 1.0


def threshold(expected: float) -> float:
    """The probability from which on a voxel counts as grey matter.

    Half of the Dice coefficient that is reached: no other segmentation is expected to have a higher
    one (Lipton, Elkan and Naryanaswamy, 2014, of F1, which is the Dice coefficient).

    Args:
      expected: see `expected_dice`, in [0, 1].
    """
    return expected / 2


def volume_uncertainty(probabilities: np.ndarray, voxel_size: float) -> float:
    """Error bar of the grey-matter volume in mL, before calibration (section 5, figure 5).

    The standard deviation that belongs to each voxel's entropy, less that of a certain voxel,
    summed as if all voxels erred together.

    Args:
      probabilities: `(X, Y, Z, K)`, scaled by the variance.
      voxel_size: in mm.
    """
    entropy = np.asarray(uncertainty.entropy(probabilities))
    sigma = np.sqrt(uncertainty.variance_from_entropy(entropy))
    certain = np.sqrt(uncertainty.variance_from_entropy(np.float32(0.0)))
    return float((sigma - certain).sum() * voxel_size**3 / 1000)
