"""3x3 convolution with half the multiplications, for CPUs: Winograd's F(4, 3).

F(4, 3) computes four outputs of a three-tap filter with six multiplications instead of twelve
(Winograd, *Arithmetic Complexity of Computations*, 1980; Lavin and Gray, arXiv:1509.09308). Only
the vertical axis is transformed, four rows at a time. Transforming both axes would take a quarter
of the multiplications, but more additions in memory, larger errors, and 36 matrices per layer to
compile instead of six.
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

# The transforms that Lavin and Gray call G, B^T and A^T. F(4, 3) reads its outputs off a product of
# polynomials, which is determined by its values at six points. The points 0, 1, -1, 1/2, -2 and
# infinity have the smallest rounding errors.
ROWS = 4
KERNEL_TRANSFORM = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
INPUT_TRANSFORM = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 1, -5 / 2, 1 / 2, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
OUTPUT_TRANSFORM = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 1 / 2, -2, 0),
    (0, 1, 1, 1 / 4, 4, 0),
    (0, 1, -1, 1 / 8, -8, 1),
)

# Minimum number of multiplications. In smaller convolutions the additions of the transforms cost
# about as much as they save. The number is counted for a square with the image's shorter side, so
# that panoramas are computed in the same way as other pictures. The released model, whose
# convolutions are all smaller, never uses the transforms.
MIN_PRODUCTS = 2**29


def is_faster(x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "n m c features"]) -> bool:
    """Returns whether `conv` is faster on a CPU than a direct convolution, and accurate enough.

    It is accurate enough in float32 only; in narrower types the errors would be visible.
    """
    if kernel.shape[:2] != (3, 3) or {x.dtype, kernel.dtype} != {jnp.dtype("float32")}:
        return False
    # Dimensions are symbolic when a program is exported.
    if not all(isinstance(n, int) for n in x.shape) or min(kernel.shape[2:]) < 32:
        return False
    return min(x.shape[1:3]) ** 2 * math.prod(kernel.shape) >= MIN_PRODUCTS


def conv(
    x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "3 3 c features"]
) -> Float[Array, "b h w features"]:
    """Convolves `x` [b, h, w, in] with `kernel` [3, 3, in, out], zero-padded to SAME.

    In float32 it differs from a direct convolution by a few millionths of the largest output.
    """
    batch, height, width, _ = x.shape
    tiles = -(-height // ROWS)
    x = jnp.pad(x, ((0, 0), (1, tiles * ROWS + 1 - height), (0, 0), (0, 0)))
    # The first rows of all tiles, the second rows, and so on; neighbouring tiles share two rows.
    rows = [x[:, i : i + ROWS * (tiles - 1) + 1 : ROWS] for i in range(ROWS + 2)]
    products = [
        jax.lax.conv_general_dilated(
            _weighted_sum(input_weights, rows),
            _weighted_sum(kernel_weights, jnp.unstack(kernel))[None],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for input_weights, kernel_weights in zip(INPUT_TRANSFORM, KERNEL_TRANSFORM, strict=True)
    ]
    y = jnp.stack([_weighted_sum(weights, products) for weights in OUTPUT_TRANSFORM], axis=2)
    return y.reshape(batch, tiles * ROWS, width, -1)[:, :height]


def _weighted_sum(weights: Sequence[float], parts: Sequence[Array]) -> Array:
    """Returns the weighted sum of `parts`; weights of 0 or 1 cost no multiplication."""
    terms = [x if w == 1 else w * x for w, x in zip(weights, parts, strict=True) if w]
    return functools.reduce(operator.add, terms)
