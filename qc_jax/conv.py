"""The 3x3x3 convolution of the network, in the form that is fast on the backend at hand.

Arrays are `(B, X, Y, Z, C)`, kernels `(3, 3, 3, C_in, C_out)`; the padding is zero and keeps the
shape.  XLA's 3-D convolution reaches a small fraction of a CPU's peak, while its 2-D one is fast
once it has enough channels.  Two rewritings use that:

* *folded* (few channels): runs of `fold` voxels along z become channels, with a halo of one voxel
  on either side.  That is a reshape, not a copy, since z is the axis beside the channels.  The
  kernel becomes a banded matrix of `(fold + 2) C_in` by `fold C_out` channels, and y and the folded
  z form one image axis on which the y neighbours lie `Z / fold` apart: a dilated 2-D convolution.
* *slabs* (many channels): the sum of three 2-D convolutions, x moved into the batch.

The gradient is written out since the automatic one of either form costs twice as much: with
respect to the input it is again such a convolution, with the kernel mirrored and transposed.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS_2D = ("NHWC", "HWIO", "NHWC")
_DIMENSIONS_3D = ("NDHWC", "DHWIO", "NDHWC")
_MANY_CHANNELS = 16


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


def direct_conv3d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The backend's own 3-D convolution; arguments as `conv3d`."""
    return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=_DIMENSIONS_3D)


@jax.custom_vjp
def cpu_conv3d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Folded or slab form, whichever suits the number of channels; arguments as `conv3d`."""
    fold = _fold(x.shape[3], kernel.shape[3])
    return _slabs(x, kernel) if fold == 1 else _folded(x, kernel, fold)


def _forward(x, kernel):
    return cpu_conv3d(x, kernel), (x, kernel)


def _backward(residuals, cotangent):
    x, kernel = residuals
    mirrored = kernel[::-1, ::-1, ::-1].swapaxes(-1, -2)
    return cpu_conv3d(cotangent, mirrored), _kernel_gradient(x, cotangent)


cpu_conv3d.defvjp(_forward, _backward)


def _fold(z: int, channels: int) -> int:
    """How many voxels along z to fold: until the 2-D convolution has channels enough."""
    wanted = 1 if channels >= _MANY_CHANNELS else 2 if channels > 2 else 4
    return next(fold for fold in (wanted, 2, 1) if fold <= wanted and z % fold == 0)


def _kernel_gradient(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    z, channels = x.shape[3:]
    if channels > _MANY_CHANNELS or z % 2:
        form: Callable = _slabs
    elif channels == 1 or channels == _MANY_CHANNELS:
        form = lambda x, kernel: _folded(x, kernel, 2)  # noqa: E731
    else:
        form = lambda x, kernel: _folded_in_batch(x, kernel, 2)  # noqa: E731
    kernel = jnp.zeros((3, 3, 3, channels, cotangent.shape[-1]), x.dtype)
    return jax.vjp(lambda kernel: form(x, kernel), kernel)[1](cotangent)[0]


def _slabs(x: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, size, *plane, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    out = sum(
        lax.conv_general_dilated(
            padded[:, k : k + size].reshape(batch * size, *plane, -1),
            kernel[k],
            (1, 1),
            "SAME",
            dimension_numbers=_DIMENSIONS_2D,
        )
        for k in range(3)
    )
    return out.reshape(batch, size, *plane, -1)


def _folded(x: jax.Array, kernel: jax.Array, fold: int) -> jax.Array:
    batch, size_x, size_y, size_z, _ = x.shape
    runs = size_z // fold
    out = lax.conv_general_dilated(
        _with_halo(x, fold).reshape(batch, size_x, size_y * runs, -1),
        _banded(kernel, fold),
        (1, 1),
        ((1, 1), (runs, runs)),
        rhs_dilation=(1, runs),
        dimension_numbers=_DIMENSIONS_2D,
    )
    return out.reshape(batch, size_x, size_y, size_z, -1)


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
