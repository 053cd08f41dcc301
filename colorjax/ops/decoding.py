"""Decoding of logits over bins into chroma: the paper's argmax and the methods of later work.

Every decoder takes `logits` [..., G, Q] and the bins' `values` [G, Q, D], where the groups G are
those of `colorjax.ops.bins`, and returns chroma [..., G D]. It treats every pixel on its own.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Float32, Int32, PRNGKeyArray

from colorjax.ops import bins
from colorjax.ops.arrays import AnyArray, widen
from colorjax.ops.spaces import FULL_SCALE, Space

METHODS = ("argmax", "mean", "annealed", "sample")
MEANS = ("mean", "annealed")  # methods that average, which makes their colours paler
MUTED_CHROMA = 5.0  # about half a joint bin; the hue of smaller chroma is unreliable


def decode(
    logits: Float[AnyArray, "*batch groups num_bins"],
    values: Float[AnyArray, "groups num_bins depth"],
    space: Space,
    *,
    method: str = "argmax",
    temperature: float | Float[AnyArray, ""] = 0.38,
    key: PRNGKeyArray | None = None,
) -> Float32[Array, "*batch 2"]:
    """Decodes logits into chroma by one of `METHODS`.

    Args:
      logits: [..., G, Q], in any float type.
      values: [G, Q, D], the chroma that represents each bin.
      space: the colour space; channels that it marks as circular get a circular mean.
      method: `argmax`, the most probable bin (the paper, section 3.6); `mean`, the expectation;
        `annealed`, the annealed mean, which is the expectation at a temperature (Zhang, Isola and
        Efros 2016, section 2.3); `sample`, a random sample at a temperature.
      temperature: divides the logits for `annealed` and `sample`, > 0. Towards 0 both become
        argmax. At 1 they are the mean, and a sample from the network's own distribution.
      key: random key, required by `sample`.
    Returns:
      [..., G D] float32.
    Raises:
      ValueError: if the method is unknown, or `sample` has no key.
    """
    logits = jnp.asarray(logits, jnp.float32)
    values = jnp.asarray(values, jnp.float32)
    if method == "argmax":
        return bins.unbin_chroma(jnp.argmax(logits, axis=-1), values)
    if method == "mean":
        return expectation(logits, values, space)
    if method == "annealed":
        return expectation(logits / temperature, values, space)
    if method == "sample":
        if key is None:
            raise ValueError("sampling wants a key")
        return bins.unbin_chroma(sample_bins(key, logits / temperature), values)
    raise ValueError(f"decoding is {method!r}, want one of {METHODS}")


def add_vibrance(
    chroma: Float[AnyArray, "*batch 2"], vibrance: float
) -> Float32[Array, "*batch 2"]:
    """Adds about the same amount of chroma to every colour, muted or vivid, at constant hue.

    Expected colours are paler than those of photographs. Of all corrections that raise the mean
    chroma of a set of expected colours to a given value, a constant that is added to every chroma
    has the least squared error. A factor would change vivid colours most, which need it least. Near
    gray a constant would create visible edges from negligible differences; a chroma of n therefore
    gains `vibrance` n / (n + MUTED_CHROMA).

    Args:
      chroma: [..., 2], coordinates in a plane with gray at the origin.
      vibrance: the amount to add, in units of chroma; 0 leaves the colours unchanged.
    """
    chroma = jnp.asarray(chroma, jnp.float32)
    squares = jnp.sum(jnp.square(chroma), axis=-1, keepdims=True)
    norm = jnp.sqrt(squares + 1e-12)  # differentiable at gray
    return chroma * (1.0 + vibrance / (norm + MUTED_CHROMA))


def undo_rebalancing(
    logits: Float[AnyArray, "*batch groups num_bins"],
    weights: Float[AnyArray, "groups num_bins"],
    share: float | Float[AnyArray, ""],
) -> Float32[Array, "*batch groups num_bins"]:
    """Removes a share of the class rebalancing from logits that were trained with it.

    A cross-entropy with class weights w is minimal where softmax(logits) is proportional to w p, p
    being the true probabilities of the bins. Subtracting log w gives the logits of p (logit
    adjustment, Menon et al. 2021).

    Args:
      logits: [..., G, Q], in any float type.
      weights: [G, Q], >= 0, the class weights of the loss. The logits of bins with weight 0, which
        were not trained, stay unchanged.
      share: 0 leaves the logits unchanged; 1 gives the logits of p.
    Returns:
      [..., G, Q] float32.
    """
    weights = jnp.asarray(weights, jnp.float32)
    log_weights = jnp.log(jnp.where(weights > 0, weights, 1.0))
    return jnp.asarray(logits, jnp.float32) - share * log_weights


def confidence(logits: Float[AnyArray, "*batch groups num_bins"]) -> Float32[Array, "*batch"]:
    """Returns 1 - the normalized entropy of the predicted distribution, averaged over groups.

    It is 1 where one bin of every group has all probability, and 0 where all bins are equally
    probable. Apply `undo_rebalancing` first to logits from a rebalanced loss.

    Args:
      logits: [..., G, Q], Q > 1, in any float type.

    Returns:
      [...] float32 in [0, 1].
    """
    log_p = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1) / jnp.log(log_p.shape[-1])
    return jnp.clip(1.0 - jnp.mean(entropy, axis=-1), 0.0, 1.0)


def distribution(
    logits: Float[AnyArray, "*batch groups num_bins"],
    values: Float[AnyArray, "groups num_bins depth"],
) -> tuple[Float32[Array, "*batch colors"], Float32[Array, "colors channels"]]:
    """Returns the joint probability of every combination of one bin per group, and its chroma.

    Args:
      logits: [..., G, Q], in any float type; the groups count as independent.
      values: [G, Q, D], the chroma that represents each bin.
    Returns:
      probabilities: [..., Q^G] float32, summing to 1.
      chroma: [Q^G, G D] float32.
    """
    marginals = jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    values = jnp.asarray(values, jnp.float32)
    joint, chroma = marginals[..., 0, :], values[0]
    for group in range(1, len(values)):
        joint = joint[..., :, None] * marginals[..., group, None, :]
        joint = joint.reshape(*joint.shape[:-2], -1)
        group_chroma = jnp.tile(values[group], (len(chroma), 1))
        chroma = jnp.repeat(chroma, values.shape[1], axis=0)
        chroma = jnp.concatenate([chroma, group_chroma], axis=-1)
    return joint, chroma


def expectation(
    logits: Float[AnyArray, "*batch groups num_bins"],
    values: Float[AnyArray, "groups num_bins depth"],
    space: Space,
) -> Float[Array, "*batch 2"]:
    """Returns the mean of `values` [G, Q, D] under softmax(`logits` [..., G, Q]): [..., G D].

    Channels that `space` marks as circular get a circular mean.
    """
    probabilities = jax.nn.softmax(widen(logits), axis=-1)
    means: list[Array] = []
    for group in range(values.shape[0]):
        for channel in range(values.shape[2]):
            column, p = values[group, :, channel], probabilities[..., group, :]
            circular = space.circular[len(means)]
            means.append(_circular_mean(p, column) if circular else jnp.sum(p * column, axis=-1))
    return jnp.stack(means, axis=-1)


def sample_bins(
    key: PRNGKeyArray, logits: Float[AnyArray, "*batch groups num_bins"]
) -> Int32[Array, "*batch groups"]:
    """Samples a bin for each pixel from softmax(`logits` [..., G, Q]): int32 [..., G].

    It uses the Gumbel-max trick with one noise value per bin, which all pixels share. Each bin is
    still drawn with exactly the probability that the network assigns to it, and pixels with similar
    distributions get the same colour. Independent samples would look like confetti.
    """
    noise = jax.random.gumbel(key, logits.shape[-2:])
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)


def _circular_mean(
    probabilities: Float[AnyArray, "*batch num_bins"], values: Float[AnyArray, " num_bins"]
) -> Float[Array, "*batch"]:
    """Returns the circular mean of `values`, whose range [-100, 100] is one full turn."""
    angles = values * (jnp.pi / FULL_SCALE)
    x = jnp.sum(probabilities * jnp.cos(angles), axis=-1)
    y = jnp.sum(probabilities * jnp.sin(angles), axis=-1)
    return jnp.arctan2(y, x) * (FULL_SCALE / jnp.pi)
