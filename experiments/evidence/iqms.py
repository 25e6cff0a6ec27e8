"""Image quality measures of MRIQC, for comparison; images `(X, Y, Z)`, masks bool of that shape.

They get the true tissues, where MRIQC has to segment the very scan that it judges.
"""

import numpy as np


def snr(image: np.ndarray, tissue: np.ndarray) -> float:
    """mean / (standard deviation sqrt(n / (n - 1))) within a tissue; higher is better.

    `mriqc.qc.anatomical.snr`.
    """
    values = image[tissue]
    deviation = values.std() * np.sqrt(len(values) / (len(values) - 1))
    return float(values.mean() / deviation)


def cnr(image: np.ndarray, grey: np.ndarray, white: np.ndarray, air: np.ndarray) -> float:
    """|mean grey - mean white| / sqrt(var air + var grey + var white); higher is better.

    Magnotta and Friedman (2006), `mriqc.qc.anatomical.cnr`.
    """
    noise = np.sqrt(sum(image[mask].var() for mask in (air, grey, white)))
    return float(abs(image[grey].mean() - image[white].mean()) / noise)


def efc(image: np.ndarray) -> float:
    """Entropy focus criterion, 0 to 1; lower is better: ghosts and blur spread the energy.

    Atkinson et al. (1997), normalised by the largest value, `mriqc.qc.anatomical.efc`.
    """
    share = image / np.sqrt(np.sum(np.square(image, dtype=np.float64)))
    number = image.size
    largest = number / np.sqrt(number) * np.log(1 / np.sqrt(number))
    return float(np.sum(share * np.log(share + 1e-16)) / largest)
