"""Elementwise losses; the caller sums or averages them."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Float32, Int

from colorjax.ops.arrays import AnyArray, widen


@jax.custom_vjp
def cross_entropy(
    logits: Float[AnyArray, "*batch num_bins"], bins: Int[AnyArray, "*batch"]
) -> Float32[Array, "*batch"]:
    """Returns the negative log-probability of the true bin, in nats (the paper, section 3.6).

    `logits` [..., num_bins] in any float type, `bins` int32 [...] -> float32 [...].

    A custom gradient makes one pass over the logits in their own dtype. Automatic differentiation
    would store two float32 copies of the logits, which are the largest arrays of the network.
    """
    return _cross_entropy_forward(logits, bins)[0]


def _cross_entropy_forward(logits, bins):
    log_sum = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
    # Not take_along_axis, because its gather, and the scatter of its gradient, are slow on a CPU.
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
    """Returns the cross-entropy with soft targets, in nats (Zhang, Isola and Efros 2016).

    `logits` and `targets` [..., num_bins], where the targets sum to 1 -> float32 [...]. Only the
    logits have a gradient.
    """
    return _soft_cross_entropy_forward(logits, targets)[0]


def _soft_cross_entropy_forward(logits, targets):
    # Flatten first: otherwise XLA takes ten times as long on a CPU over the sum of products.
    flat = logits.astype(jnp.float32).reshape(-1, logits.shape[-1])
    largest = jnp.max(flat, axis=-1, keepdims=True)
    log_sum = jnp.log(jnp.sum(jnp.exp(flat - largest), axis=-1)) + largest[:, 0]
    expected = jnp.sum(targets.reshape(flat.shape) * flat, axis=-1)
    loss, log_sum = (x.reshape(logits.shape[:-1]) for x in (log_sum - expected, log_sum))
    return loss, (logits, targets, log_sum)


def _soft_cross_entropy_backward(saved, g):
    logits, targets, log_sum = saved
    probability = jnp.exp(logits.astype(jnp.float32) - log_sum[..., None])
    return (g[..., None] * (probability - targets)).astype(logits.dtype), None


soft_cross_entropy.defvjp(_soft_cross_entropy_forward, _soft_cross_entropy_backward)


def kl_divergence(
    logits: Float[AnyArray, "*batch classes"], true_logits: Float[AnyArray, "*batch classes"]
) -> Float32[Array, "*batch"]:
    """Returns the Kullback-Leibler divergence KL(true || predicted), in nats.

    `logits` and `true_logits` [..., classes] in any float type -> float32 [...]. It is 0 where both
    distributions are equal.
    """
    predicted, true = (jax.nn.log_softmax(widen(x), axis=-1) for x in (logits, true_logits))
    return jnp.sum(jnp.exp(true) * (true - predicted), axis=-1)


def squared_error(
    predicted: Float[AnyArray, "*shape"], target: Float[AnyArray, "*shape"] | float
) -> Float[Array, "*shape"]:
    """Returns the l2 loss, (predicted - target)^2, without reduction (the paper, section 3.5)."""
    return jnp.square(widen(predicted) - target)


def huber(
    predicted: Float[AnyArray, "*shape"], target: Float[AnyArray, "*shape"] | float, m: float
) -> Float[Array, "*shape"]:
    """Returns the Huber loss without reduction (the paper, section 3.5).

    With u = predicted - target it is u^2 for |u| <= m, and m (2 |u| - m) otherwise: twice
    `optax.losses.huber_loss(delta=m)`.
    """
    u = jnp.abs(widen(predicted) - target)
    return jnp.where(u <= m, jnp.square(u), m * (2 * u - m))
