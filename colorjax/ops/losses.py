"""Losses, elementwise: the caller says what is summed and what is averaged."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Float32, Int

from colorjax.ops.arrays import AnyArray, widen


@jax.custom_vjp
def cross_entropy(
    logits: Float[AnyArray, "*batch num_bins"], bins: Int[AnyArray, "*batch"]
) -> Float32[Array, "*batch"]:
    """Negative log-probability of the true bin, in nats (the paper, section 3.6).

    `logits` [..., num_bins] in any float type, `bins` int32 [...] -> float32 [...].

    The gradient is one pass over the logits in their own type: what differentiating the definition
    would keep for it is two float32 copies of them, the largest arrays of the network.
    """
    return _cross_entropy_forward(logits, bins)[0]


def _cross_entropy_forward(logits, bins):
    log_sum = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
    # Not take_along_axis: a gather, and the scatter that is its gradient, are slow on a CPU.
    true_logit = jnp.sum(jnp.where(_is_bin(logits, bins), logits, 0), -1, dtype=jnp.float32)
    return log_sum - true_logit, (logits, bins, log_sum)


def _cross_entropy_backward(saved, g):
    logits, bins, log_sum = saved
    probability = jnp.exp(logits.astype(jnp.float32) - log_sum[..., None])
    gradient = g[..., None] * (probability - _is_bin(logits, bins))
    return gradient.astype(logits.dtype), None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _is_bin(
    logits: Float[AnyArray, "*batch num_bins"], bins: Int[AnyArray, "*batch"]
) -> Bool[Array, "*batch num_bins"]:
    return jnp.arange(logits.shape[-1]) == bins[..., None]


@jax.custom_vjp
def soft_cross_entropy(
    logits: Float[AnyArray, "*batch num_bins"], targets: Float[AnyArray, "*batch num_bins"]
) -> Float32[Array, "*batch"]:
    """Cross-entropy against a distribution over the bins, in nats (Zhang, Isola and Efros 2016).

    `logits` and `targets` [..., num_bins], the latter adding up to 1 -> float32 [...]. Only the
    logits have a gradient.
    """
    return _soft_cross_entropy_forward(logits, targets)[0]


def _soft_cross_entropy_forward(logits, targets):
    # Flattened, without which XLA takes a CPU ten times as long over the sum of products.
    wide = logits.astype(jnp.float32).reshape(-1, logits.shape[-1])
    most = jnp.max(wide, axis=-1, keepdims=True)
    log_sum = jnp.log(jnp.sum(jnp.exp(wide - most), axis=-1)) + most[:, 0]
    expected = jnp.sum(targets.reshape(wide.shape) * wide, axis=-1)
    loss, log_sum = (x.reshape(logits.shape[:-1]) for x in (log_sum - expected, log_sum))
    return loss, (logits, targets, log_sum)


def _soft_cross_entropy_backward(saved, g):
    logits, targets, log_sum = saved
    probability = jnp.exp(logits.astype(jnp.float32) - log_sum[..., None])
    return (g[..., None] * (probability - targets)).astype(logits.dtype), None


soft_cross_entropy.defvjp(_soft_cross_entropy_forward, _soft_cross_entropy_backward)


def divergence(
    logits: Float[AnyArray, "*batch classes"], true_logits: Float[AnyArray, "*batch classes"]
) -> Float32[Array, "*batch"]:
    """Kullback-Leibler divergence from the true distribution to the one of `logits`, in nats.

    Both are scores [..., classes] in any float type; the loss is 0 where they say the same.
    """
    said, true = (jax.nn.log_softmax(widen(x), axis=-1) for x in (logits, true_logits))
    return jnp.sum(jnp.exp(true) * (true - said), axis=-1)


def squared_error(
    predicted: Float[AnyArray, "*shape"], target: Float[AnyArray, "*shape"] | float
) -> Float[Array, "*shape"]:
    """The l2 loss of the difference u, u^2 (the paper, section 3.5); same shape as the inputs."""
    return jnp.square(widen(predicted) - target)


def huber(
    predicted: Float[AnyArray, "*shape"], target: Float[AnyArray, "*shape"] | float, m: float
) -> Float[Array, "*shape"]:
    """Huber: u^2 for |u| <= m, else m (2 |u| - m), u the difference (the paper, section 3.5).

    Twice `optax.losses.huber_loss(delta=m)`. Same shape as the inputs.
    """
    u = jnp.abs(widen(predicted) - target)
    return jnp.where(u <= m, jnp.square(u), m * (2 * u - m))
