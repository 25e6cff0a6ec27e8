"""Types of arrays, with their axes by name.

`Float[Array, "X Y Z"]` is an image of jax or numpy; in one call, axes of one name have one size.
A single axis is written with a space before it, " N", as ruff would take it for a name otherwise.
jaxtyping and beartype check every call while the tests run (`conftest.py`); otherwise the types are
for readers and editors, and cost nothing.  A function takes either kind of array where it says
`Array` and returns that of jax where it says `jax.Array`.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Complex, Float, Inexact, Int, Int8, Integer, Real, UInt8
from jaxtyping import Key as KeyOf

Array = jax.Array | np.ndarray
Key = KeyOf[jax.Array, ""]
"""Everything random comes from one."""
Number = float | int | np.number | Real[Array, ""]
"""One number, that may be traced."""
Axis = int | np.integer | Integer[Array, ""]
"""0, 1 or 2, that may be traced."""
Triple = Sequence[float] | Real[Array, "3"]
"""Three numbers, along x, y and z."""
Image = Float[jax.Array, "X Y Z"]
ImageLike = Float[Array, "X Y Z"]
KSpace = Complex[jax.Array, "X Y Z"]
CoilKSpace = Complex[jax.Array, "C X Y Z"]

__all__ = [
    "Array",
    "Axis",
    "Bool",
    "CoilKSpace",
    "Complex",
    "Float",
    "Image",
    "ImageLike",
    "Inexact",
    "Int",
    "Int8",
    "Integer",
    "KSpace",
    "Key",
    "KeyOf",
    "Number",
    "Real",
    "Triple",
    "UInt8",
]
