"""Array types for annotations, and promotion of floats to at least float32.

Annotations use jaxtyping. The tests check them at run time; other programs do not. Arguments may be
jax or numpy arrays; results are jax arrays. Within one call, a dimension's name stands for one
size; `*batch` stands for any number of leading axes.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Num

AnyArray = Array | np.ndarray


def widen(x: Num[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Converts `x` [...] to float32, or keeps its dtype if that is a wider float."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
