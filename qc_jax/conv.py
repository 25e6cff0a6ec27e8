"""The 3x3x3 convolution of the network, in the form that is fast on the backend at hand.

Arrays are `(B, X, Y, Z, C)`, kernels `(3, 3, 3, C_in, C_out)`; the padding is zero and keeps the
shape.  XLA's 3-D convolution reaches a small fraction of a CPU's peak.  Its 2-D one comes near it
once the image is wide and has channels enough.  So z goes into the channels, and y and z form one
image axis:

* Runs of `fold` voxels along z become channels, with a halo of one voxel on either side.  The
  kernel becomes a banded matrix of `(fold + 2) C_in` by `fold C_out` channels, which costs
  `(fold + 2) / 3` times the arithmetic: 1 for `fold = 1`.
* On the axis of y and the folded z the y neighbours lie `Z / fold` apart: a dilated convolution.
* The batch joins that axis as well (`_folded_wide`), one row of zeros between its members.

The gradient is written out since the automatic one costs twice as much: with respect to the input
it is again such a convolution, with the kernel mirrored and transposed; with respect to the kernel
it is the automatic one of whichever form makes it quickest.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS_2D = ("NHWC", "HWIO", "NHWC")
_DIMENSIONS_3D = ("NDHWC", "DHWIO", "NDHWC")
_LARGE = 3 * 2**20
"""Numbers in an input from which on its halo, three times as large, leaves a usual cache."""


def conv3d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3x3 convolution with zero padding, by the fastest form for the default backend.

    Args:
      x: `(B, X, Y, Z, C_in)`, float.
      kernel: `(3, 3, 3, C_in, C_out)`, same dtype.

    Returns:
      `(B, X, Y, Z, C_out)`.

    Raises:
      AssertionError: ranks, kernel size or channels do not fit.
    """
    chex.assert_rank(x, 5)
    chex.assert_shape(kernel, (3, 3, 3, x.shape[-1], None))
    return cpu_conv3d(x, kernel) if jax.default_backend() == "cpu" else direct_conv3d(x, kernel)


def patches_at_a_time() -> int:
    """How many patches of 32^3 the network is best given: one on a CPU, whose cache holds the
    features of one (eight take a fifth more time for each), and enough to fill another device."""
    return 1 if jax.default_backend() == "cpu" else 8


def direct_conv3d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The backend's own 3-D convolution; arguments as `conv3d`."""
    return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=_DIMENSIONS_3D)


@jax.custom_vjp
def cpu_conv3d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The folded form that suits size and number of channels; arguments as `conv3d`."""
    channels = x.shape[-1]
    fold = 4 if channels <= 2 else 2 if channels <= 16 and x.size > _LARGE else 1
    return _folded_wide(x, kernel, _divisor(x.shape[3], fold))


def _forward(x, kernel):
    return cpu_conv3d(x, kernel), (x, kernel)


def _backward(residuals, cotangent):
    x, kernel = residuals
    mirrored = kernel[::-1, ::-1, ::-1].swapaxes(-1, -2)
    return cpu_conv3d(cotangent, mirrored), _kernel_gradient(x, cotangent)


cpu_conv3d.defvjp(_forward, _backward)


def _kernel_gradient(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    channels = x.shape[-1]
    form = _folded if channels > 16 else _folded_in_batch
    fold = _divisor(x.shape[3], 2 if channels < 16 else 1)
    kernel = jnp.zeros((3, 3, 3, channels, cotangent.shape[-1]), x.dtype)
    return jax.vjp(lambda kernel: form(x, kernel, fold), kernel)[1](cotangent)[0]


def _divisor(size: int, most: int) -> int:
    """The largest power of two up to `most`, itself one, that divides `size`."""
    return most if size % most == 0 else _divisor(size, most // 2)


def _folded(x: jax.Array, kernel: jax.Array, fold: int) -> jax.Array:
    batch, size_x, size_y, size_z, _ = x.shape
    runs = size_z // fold
    image = _with_halo(x, fold).reshape(batch, size_x, size_y * runs, -1)
    out = _dilated(image, _banded(kernel, fold), runs)
    return out.reshape(batch, size_x, size_y, size_z, -1)


def _folded_wide(x: jax.Array, kernel: jax.Array, fold: int) -> jax.Array:
    """As `_folded`, the batch moved into the image: faster, but with a slow kernel gradient."""
    batch, size_x, size_y, size_z, _ = x.shape
    if batch == 1:
        return _folded(x, kernel, fold)
    runs = size_z // fold
    padded = jnp.pad(_with_halo(x, fold), ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0)))
    image = padded.swapaxes(0, 1).reshape(1, size_x, batch * (size_y + 1) * runs, -1)
    out = _dilated(image, _banded(kernel, fold), runs)
    out = out.reshape(size_x, batch, size_y + 1, size_z, -1)
    return out[:, :, :size_y].swapaxes(0, 1)


def _dilated(image: jax.Array, kernel: jax.Array, runs: int) -> jax.Array:
    """3x3 convolution of `(B, X, Y runs, C)` whose second axis has its neighbours `runs` apart."""
    return lax.conv_general_dilated(
        image,
        kernel,
        (1, 1),
        ((1, 1), (runs, runs)),
        rhs_dilation=(1, runs),
        dimension_numbers=_DIMENSIONS_2D,
    )


def _folded_in_batch(x: jax.Array, kernel: jax.Array, fold: int) -> jax.Array:
    """As `_folded`, the runs moved into the batch: slower forward, faster kernel gradient."""
    batch, *plane, size_z, _ = x.shape
    runs = size_z // fold
    out = lax.conv_general_dilated(
        _with_halo(x, fold).transpose(0, 3, 1, 2, 4).reshape(batch * runs, *plane, -1),
        _banded(kernel, fold),
        (1, 1),
        "SAME",
        dimension_numbers=_DIMENSIONS_2D,
    )
    out = out.reshape(batch, runs, *plane, -1).transpose(0, 2, 3, 1, 4)
    return out.reshape(batch, *plane, size_z, -1)


def _with_halo(x: jax.Array, fold: int) -> jax.Array:
    """`(B, X, Y, Z, C)` to `(B, X, Y, Z / fold, (fold + 2) C)`, one neighbour on either side."""
    batch, size_x, size_y, size_z, channels = x.shape
    runs = size_z // fold
    padded = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1), (0, 0)))
    before = padded[:, :, :, 0:size_z:fold]
    after = padded[:, :, :, fold + 1 :: fold]
    inside = x.reshape(batch, size_x, size_y, runs, fold * channels)
    return jnp.concatenate([before, inside, after], axis=-1)


def _banded(kernel: jax.Array, fold: int) -> jax.Array:
    """`(3, 3, 3, I, O)` to `(3, 3, (fold + 2) I, fold O)`: the kernel for every voxel of a run."""
    copies = [
        jnp.pad(kernel, ((0, 0), (0, 0), (t, fold - 1 - t), (0, 0), (0, 0))) for t in range(fold)
    ]
    banded = jnp.stack(copies, axis=4)
    return banded.reshape(3, 3, (fold + 2) * kernel.shape[3], fold * kernel.shape[4])
