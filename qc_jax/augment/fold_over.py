"""Fold-over: a field of view smaller than the head.

Along an axis that is encoded by phase, positions a field of view apart have the same k-space: what
sticks out on one side, nose or back of the head, lies bright and sharp over the other side.  Along
the readout a filter keeps it out.
"""

import dataclasses

import numpy as np

from qc_jax.arrays import Array, Float, Real, Triple
from qc_jax.augment.protocol import Protocol
from qc_jax.errors import ConfigError

_IN_HEAD = 0.1
"""Share of the brightest intensity, by the 99th percentile, that counts as head."""


def head_box(image: Real[Array, "X Y Z"], voxel_size: Triple) -> Float[np.ndarray, "2 3"]:
    """`(2, 3)` mm from the centre of the image, the corners of a box around the head.

    Args:
      image: `(X, Y, Z)`, dark where there is air.
      voxel_size: `(3,)` mm.

    Raises:
      ConfigError: nothing is brighter than air.
    """
    image = np.asarray(image)
    bright = image > _IN_HEAD * np.percentile(image, 99)
    corners = []
    for axis, (size, length) in enumerate(zip(image.shape, voxel_size, strict=True)):
        # A plane counts from a thousandth on, so that no lone voxel is a head.
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        planes = np.flatnonzero(share > 1e-3)
        if not planes.size:
            raise ConfigError("the image holds no head: nothing in it is brighter than the rest")
        corners.append((np.array([planes[0], planes[-1] + 1]) - size / 2) * length)
    return np.stack(corners, axis=-1)


def check_inside(protocol: Protocol, box: Float[np.ndarray, "2 3"]) -> None:
    """Raises ConfigError for a head outside the field of view; a part of it may be."""
    for axis, name in enumerate("xyz"):
        low, high = (
            protocol.centre[axis] + sign * protocol.field_of_view[axis] / 2 for sign in (-1, 1)
        )
        if high <= box[0, axis] or low >= box[1, axis]:
            raise ConfigError(
                f"the head lies from {box[0, axis]:.0f} to {box[1, axis]:.0f} mm along {name}, "
                f"outside the field of view from {low:.0f} to {high:.0f} mm; move its centre"
            )


def narrow(
    protocol: Protocol, box: Float[np.ndarray, "2 3"], axis: int, share: float, side: float = 0.0
) -> Protocol:
    """The protocol with a field of view that lacks room for a part of the head; voxels stay.

    Args:
      protocol: whose axis is encoded by phase or partition.
      box: `(2, 3)` mm, see `head_box`.
      axis: along which the head folds over.
      share: of the head's extent that lies outside, 0 to below 0.6.
      side: where: 0 for half on each side, 1 for all at the upper end of the axis, -1 the lower.

    Raises:
      ConfigError: along this axis nothing folds over.
    """
    if axis not in protocol.encoded:
        raise ConfigError(
            f"along axis {axis} nothing folds over; those encoded by phase are {protocol.encoded}"
        )
    if not 0 <= share < 0.6 or not -1 <= side <= 1:
        raise ConfigError(f"share {share} has to be from 0 to 0.6, side {side} from -1 to 1")
    size = protocol.voxel_size[axis]
    extent = box[1, axis] - box[0, axis]
    lines = max(2 * round((1 - share) * extent / size / 2), 2)
    middle = box[:, axis].mean() - side * (extent - lines * size) / 2
    return dataclasses.replace(
        protocol,
        field_of_view=_with(protocol.field_of_view, axis, lines * size),
        matrix=_with(protocol.matrix, axis, lines),
        centre=_with(protocol.centre, axis, float(middle)),
    )


def random_narrow(
    rng: np.random.Generator, protocol: Protocol, box: Float[np.ndarray, "2 3"], share: float
) -> Protocol:
    """As `narrow`, along phase or partition, more or less to one side."""
    axis = int(rng.choice(protocol.encoded))
    return narrow(protocol, box, axis, share, float(rng.uniform(-1, 1)))


def _with(numbers: tuple, axis: int, number) -> tuple:
    return (*numbers[:axis], number, *numbers[axis + 1 :])
