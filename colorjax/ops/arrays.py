"""What annotations call arrays here, and how wide the floats of results are.

Annotations are jaxtyping's, and the tests check them; to a program they are only read. An argument
may be an array of jax or of numpy, a result is one of jax. A name stands for one size within a
call; `*batch` stands for any number of leading axes.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Num

AnyArray = Array | np.ndarray


def widen(x: Num[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """`x` [...] as float32, or as the wider float that it is already."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
