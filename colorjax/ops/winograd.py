"""3x3 convolution with half the products: Winograd's, of four rows at a time, for CPUs.

Rows alone are transformed (Winograd, *Arithmetic Complexity of Computations*, 1980; Lavin and Gray,
arXiv:1509.09308, call it F(4, 3)). Along both axes there would be a quarter of the products, but
more sums in memory, larger errors and 36 matrices a layer to compile instead of six.
"""

import functools
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from colorjax.ops.arrays import AnyArray

# Four results of a kernel with three elements are read off a product of polynomials, which its
# values at six points decide: 0, 1, -1, 1/2, -2 and infinity. These keep errors least.
ROWS = 4
OF_KERNEL = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
OF_INPUT = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 1, -5 / 2, 1 / 2, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
OF_RESULT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 1 / 2, -2, 0),
    (0, 1, 1, 1 / 4, 4, 0),
    (0, 1, -1, 1 / 8, -8, 1),
)

# Of a square in an image; of smaller ones little is to be saved, as the sums take their share. By
# the square, long pictures are computed as others are: by the released model always plainly.
LEAST_PRODUCTS = 2**29


def pays(x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "n m c features"]) -> bool:
    """Whether `conv` is quicker on a CPU than plain convolution, and as good as exact.

    float32 alone: in shorter types its errors would show.
    """
    if kernel.shape[:2] != (3, 3) or {x.dtype, kernel.dtype} != {jnp.dtype("float32")}:
        return False
    # Sizes may be symbols, where a program is exported.
    if not all(isinstance(n, int) for n in x.shape) or min(kernel.shape[2:]) < 32:
        return False
    return min(x.shape[1:3]) ** 2 * math.prod(kernel.shape) >= LEAST_PRODUCTS


def conv(
    x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "3 3 c features"]
) -> Float[Array, "b h w features"]:
    """Convolution of `x` [b, h, w, in] with `kernel` [3, 3, in, out], zero-padded to SAME.

    Of float32 it differs from the plain one by a few millionths of the greatest result.
    """
    batch, height, width, _ = x.shape
    tiles = -(-height // ROWS)
    x = jnp.pad(x, ((0, 0), (1, tiles * ROWS + 1 - height), (0, 0), (0, 0)))
    # The first rows of all tiles, the second rows, ...; neighbouring tiles share two.
    rows = [x[:, i : i + ROWS * (tiles - 1) + 1 : ROWS] for i in range(ROWS + 2)]
    products = [
        jax.lax.conv_general_dilated(
            _sum(of_input, rows),
            _sum(of_kernel, jnp.unstack(kernel))[None],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for of_input, of_kernel in zip(OF_INPUT, OF_KERNEL, strict=True)
    ]
    y = jnp.stack([_sum(of_result, products) for of_result in OF_RESULT], axis=2)
    return y.reshape(batch, tiles * ROWS, width, -1)[:, :height]


def _sum(weights: Sequence[float], parts: Sequence[Array]) -> Array:
    """Sum of `parts`, weighted; nothing is computed for a weight of 0 or 1."""
    terms = [x if w == 1 else w * x for w, x in zip(weights, parts, strict=True) if w]
    return functools.reduce(operator.add, terms)
