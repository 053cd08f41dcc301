"""Losses, elementwise: the caller says what is summed and what is averaged."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, bins: jax.Array) -> jax.Array:
    """Negative log-probability of the true bin, in nats (the paper, section 3.2).

    `logits` [..., num_bins] in any float type, `bins` int32 [...] -> float32 [...].
    """
    logits = logits.astype(jnp.float32)
    true_logit = jnp.take_along_axis(logits, bins[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - true_logit


def soft_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross-entropy against a distribution over the bins, in nats (Zhang, Isola and Efros 2016).

    `logits` and `targets` [..., num_bins], the latter adding up to 1 -> float32 [...].
    """
    logits = logits.astype(jnp.float32)
    return jax.nn.logsumexp(logits, axis=-1) - jnp.sum(targets * logits, axis=-1)


def squared_error(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """The l2 loss of the paper's regression, u^2 of the difference u; same shape as the inputs."""
    return jnp.square(predicted - target)


def huber(predicted: jax.Array, target: jax.Array, m: float) -> jax.Array:
    """u^2 for |u| <= m, else m (2 |u| - m), with u the difference (the paper, section 3.1).

    Twice `optax.losses.huber_loss(delta=m)`. Same shape as the inputs.
    """
    u = jnp.abs(predicted - target)
    return jnp.where(u <= m, jnp.square(u), m * (2 * u - m))
