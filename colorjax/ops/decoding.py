"""From scores of bins to chroma: the paper's argmax, and what came after it.

Every decoder takes `logits` [..., G, Q] and the bins' `values` [G, Q, D] (the groups of
`colorjax.ops.bins`) and returns chroma [..., G D]. None looks at neighbouring pixels.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Float32, Int32, PRNGKeyArray

from colorjax.ops import bins
from colorjax.ops.arrays import AnyArray, widen
from colorjax.ops.spaces import FULL_SCALE, Space

METHODS = ("argmax", "mean", "annealed", "sample")
MEANS = ("mean", "annealed")  # whose results are paler than what they are means of
MUTED = 5.0  # chroma, about half a bin: nearer to gray than that, a hue is not to be relied on


def decode(
    logits: Float[AnyArray, "*batch groups num_bins"],
    values: Float[AnyArray, "groups num_bins depth"],
    space: Space,
    *,
    method: str = "argmax",
    temperature: float | Float[AnyArray, ""] = 0.38,
    key: PRNGKeyArray | None = None,
) -> Float32[Array, "*batch 2"]:
    """Chroma from scores, by one of `METHODS`.

    Args:
      logits: [..., G, Q], in any float type.
      values: [G, Q, D], the chroma that each bin stands for.
      space: whose channels may be circles, where a mean goes round.
      method: `argmax`, the most probable bin (the paper, section 3.6); `mean`, the expectation;
        `annealed`, the expectation at a temperature (Zhang, Isola and Efros 2016, section 2.3);
        `sample`, one of the colourings that the network thinks possible, at a temperature.
      temperature: divides the logits where `annealed` or `sample` ask for it, > 0; towards 0 both
        become argmax, at 1 they are the mean and the network's own distribution.
      key: of the random numbers, which `sample` wants.
    Returns:
      [..., G D] float32.
    Raises:
      ValueError: for another method, or `sample` without a key.
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
    """Gives colours about as much more chroma each, muted and vivid ones alike; hues stay.

    The mean of what a pixel may be is paler than photographs are. Of all that brings the mean
    length of a set of such means up to a given one, a constant added to every length costs the
    least squared error: to multiply them moves vivid colours farthest, which need it least. Next to
    gray, where that would make edges of nothing, the length n gains `vibrance` n / (n + MUTED).

    Args:
      chroma: [..., 2], the coordinates of a plane around gray.
      vibrance: in units of chroma; 0 leaves all as it is.
    """
    chroma = jnp.asarray(chroma, jnp.float32)
    squares = jnp.sum(jnp.square(chroma), axis=-1, keepdims=True)
    length = jnp.sqrt(squares + 1e-12)  # has a gradient at gray too
    return chroma * (1.0 + vibrance / (length + MUTED))


def undo_rebalancing(
    logits: Float[AnyArray, "*batch groups num_bins"],
    weights: Float[AnyArray, "groups num_bins"],
    share: float | Float[AnyArray, ""],
) -> Float32[Array, "*batch groups num_bins"]:
    """Takes a share of a loss's class weights out of the scores that were learned with them.

    Cross-entropy weighted by w is least where the scores are those of w p, p being how often each
    bin is right; less log w they are those of p again (logit adjustment: Menon et al. 2021).

    Args:
      logits: [..., G, Q], in any float type.
      weights: [G, Q], >= 0; the logits of bins without weight, which learned nothing, stay.
      share: from 0, the scores as they are, to 1, those of p.
    Returns:
      [..., G, Q] float32.
    """
    weights = jnp.asarray(weights, jnp.float32)
    learned = jnp.log(jnp.where(weights > 0, weights, 1.0))
    return jnp.asarray(logits, jnp.float32) - share * learned


def confidence(logits: Float[AnyArray, "*batch groups num_bins"]) -> Float32[Array, "*batch"]:
    """How sure scores are: 1 - their entropy, as a share of the most that it can be.

    1 is all probability in one bin of every group, 0 is the same for all bins. Of several groups it
    is the mean. Scores from a rebalanced loss are to go through `undo_rebalancing` before.

    Args:
      logits: [..., G, Q], Q > 1, in any float type.

    Returns:
      [...] float32 in [0, 1].
    """
    scores = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    entropy = -jnp.sum(jnp.exp(scores) * scores, axis=-1) / jnp.log(scores.shape[-1])
    return jnp.clip(1.0 - jnp.mean(entropy, axis=-1), 0.0, 1.0)


def distribution(
    logits: Float[AnyArray, "*batch groups num_bins"],
    values: Float[AnyArray, "groups num_bins depth"],
) -> tuple[Float32[Array, "*batch colors"], Float32[Array, "colors channels"]]:
    """The probability of every chroma that scores may become: one bin of each group together.

    Args:
      logits: [..., G, Q], in any float type; groups are independent of each other.
      values: [G, Q, D], the chroma that each bin stands for.
    Returns:
      probabilities: [..., Q^G] float32, which add up to 1.
      chroma: [Q^G, G D] float32.
    """
    single = jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    values = jnp.asarray(values, jnp.float32)
    shares, chroma = single[..., 0, :], values[0]
    for group in range(1, len(values)):
        shares = shares[..., :, None] * single[..., group, None, :]
        shares = shares.reshape(*shares.shape[:-2], -1)
        own = jnp.tile(values[group], (len(chroma), 1))
        chroma = jnp.repeat(chroma, values.shape[1], axis=0)
        chroma = jnp.concatenate([chroma, own], axis=-1)
    return shares, chroma


def expectation(
    logits: Float[AnyArray, "*batch groups num_bins"],
    values: Float[AnyArray, "groups num_bins depth"],
    space: Space,
) -> Float[Array, "*batch 2"]:
    """The mean of `values` [G, Q, D] under softmax(`logits` [..., G, Q]): [..., G D]."""
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
    """A bin for each pixel, drawn from softmax(`logits` [..., G, Q]): int32 [..., G].

    Every pixel has the same luck: the bin with the greatest logit plus Gumbel noise is drawn, and
    the noise is one number a bin for all pixels. Each pixel's bin has exactly the probability that
    the network gives it, while pixels that the network thinks alike get the same colour, which
    independent draws would turn into confetti.
    """
    noise = jax.random.gumbel(key, logits.shape[-2:])
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)


def _circular_mean(
    probabilities: Float[AnyArray, "*batch num_bins"], values: Float[AnyArray, " num_bins"]
) -> Float[Array, "*batch"]:
    """The direction of the mean vector, of values in [-100, 100] once round a circle."""
    angles = values * (jnp.pi / FULL_SCALE)
    x = jnp.sum(probabilities * jnp.cos(angles), axis=-1)
    y = jnp.sum(probabilities * jnp.sin(angles), axis=-1)
    return jnp.arctan2(y, x) * (FULL_SCALE / jnp.pi)
