import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.ops import bins, decoding, losses
from colorjax.ops.spaces import SPACES

LUV, HSV = SPACES["luv"], SPACES["hsv"]
CHANNELS = bins.channel_bins(num_bins=5).centers  # -80, -40, 0, 40, 80 twice
JOINT = np.float32([[[10, -20], [30, 40], [-50, 60]]])


def logits_of(probabilities):
    return jnp.log(jnp.asarray(probabilities, jnp.float32))


def random_logits(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 2, shape), jnp.float32)


def test_the_mean_is_the_expectation_under_the_probabilities():
    channels = logits_of([[0.5, 0.5, 1e-9, 1e-9, 1e-9], [0.2, 0.2, 0.2, 0.2, 0.2]])
    assert_allclose(decoding.decode(channels, CHANNELS, LUV, method="mean"), [-60, 0], atol=1e-4)
    joint = logits_of([[0.5, 0.25, 0.25]])
    assert_allclose(decoding.decode(joint, JOINT, LUV, method="mean"), [0, 15], atol=1e-4)


def test_undoing_the_rebalancing_recovers_the_true_frequencies():
    frequencies, weights = jnp.array([[0.7, 0.2, 0.1]]), jnp.array([[0.5, 2.0, 4.0]])

    def loss(logits):
        each = losses.cross_entropy(jnp.broadcast_to(logits, (3, 1, 3)), jnp.arange(3)[:, None])
        return jnp.sum(frequencies[0] * weights[0] * each[:, 0])

    descend = jax.jit(lambda _, x: x - 0.5 * jax.grad(loss)(x))
    learned = jax.lax.fori_loop(0, 2000, descend, jnp.zeros((1, 3)))
    found = jax.nn.softmax(decoding.undo_rebalancing(learned, weights, 1.0), axis=-1)
    assert_allclose(found, frequencies, atol=1e-4)
    assert np.abs(jax.nn.softmax(learned) - frequencies).max() > 0.2
    assert_array_equal(decoding.undo_rebalancing(learned, weights, 0.0), learned)


def test_bins_of_weight_zero_keep_their_logits():
    found = decoding.undo_rebalancing(jnp.ones((4, 1, 3)), np.array([[0.0, 1.0, np.e]]), 1.0)
    assert_allclose(found[0], [[1, 1, 0]], atol=1e-6)


def test_annealing_follows_the_published_formula():
    p = np.array([0.6, 0.3, 0.1])
    sharpened = np.exp(np.log(p) / 0.38) / np.exp(np.log(p) / 0.38).sum()
    found = decoding.decode(logits_of([p]), JOINT, LUV, method="annealed", temperature=0.38)
    assert_allclose(found, sharpened @ JOINT[0], rtol=1e-5)


@pytest.mark.parametrize("values", [CHANNELS, JOINT], ids=["channels", "joint"])
def test_annealing_goes_from_argmax_to_the_mean_with_the_temperature(values):
    logits = random_logits((7, 6, *values.shape[:2]))
    decode = lambda **options: decoding.decode(logits, values, LUV, **options)  # noqa: E731
    assert_allclose(decode(method="annealed", temperature=1e-3), decode(method="argmax"), atol=1e-2)
    assert_allclose(decode(method="annealed", temperature=1.0), decode(method="mean"), atol=1e-4)


def test_vibrance_keeps_hues_and_adds_about_the_same_chroma_to_each_colour():
    chroma = np.float32([[3, 4], [-30, 40], [0, -100], [0, 0], [0.3, 0]])
    found = decoding.add_vibrance(chroma, 6.0)
    gain = np.linalg.norm(found, axis=-1) - np.linalg.norm(chroma, axis=-1)
    assert_allclose(gain, [3, 60 / 11, 600 / 105, 0, 1.8 / 5.3], rtol=1e-5)
    assert_allclose(found[:, 0] * chroma[:, 1], found[:, 1] * chroma[:, 0], atol=1e-3)
    assert_array_equal(decoding.add_vibrance(chroma, 0.0), chroma)


def test_vibrance_has_less_error_than_a_factor_with_the_same_mean_chroma():
    means = np.random.default_rng(4).normal(0, 20, (1000, 2)).astype(np.float32)
    vibrant = decoding.add_vibrance(means, 5.0)
    mean_chroma = [np.linalg.norm(x, axis=-1).mean() for x in (means, vibrant)]
    scaled = means * mean_chroma[1] / mean_chroma[0]
    errors = [np.square(x - means).sum(-1).mean() for x in (vibrant, scaled)]
    assert errors[0] < 0.85 * errors[1]


def test_vibrance_has_a_finite_gradient_at_gray():
    gradient = jax.grad(lambda x: jnp.sum(decoding.add_vibrance(x, 5.0)))(jnp.zeros((3, 2)))
    assert_allclose(gradient, 2.0, rtol=1e-4)


def test_the_mean_of_hues_is_circular():
    values = bins.channel_bins(num_bins=100).centers  # of width 2
    p = np.full((2, 100), 1e-12)
    p[0, [0, 99]] = 0.5  # -99 and 99 are both nearly red; their plain mean is cyan
    p[1, [0, 99]] = 0.5  # saturation is not circular
    hue, saturation = decoding.decode(logits_of(p), values, HSV, method="mean")
    assert abs(hue) > 99.9 and abs(saturation) < 1e-3


@pytest.mark.parametrize("values", [CHANNELS, JOINT], ids=["channels", "joint"])
def test_samples_have_the_networks_probabilities(values):
    logits = random_logits(values.shape[:2], seed=1)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.vmap(decoding.sample_bins, (0, None))(keys, logits)
    for group in range(values.shape[0]):
        shares = np.bincount(drawn[:, group], minlength=values.shape[1]) / len(keys)
        assert_allclose(shares, jax.nn.softmax(logits[group]), atol=0.015)


def test_equal_pixels_get_the_same_sample_and_seeds_differ():
    logits = jnp.broadcast_to(random_logits((2, 5), seed=2) / 4, (9, 8, 2, 5))
    samples = [
        decoding.decode(
            logits, CHANNELS, LUV, method="sample", temperature=1.0, key=jax.random.key(seed)
        )
        for seed in range(8)
    ]
    for sample in samples:
        assert_array_equal(sample, np.broadcast_to(sample[0, 0], sample.shape))
    assert len({tuple(np.asarray(s[0, 0])) for s in samples}) > 3
    again = decoding.decode(
        logits, CHANNELS, LUV, method="sample", temperature=1.0, key=jax.random.key(3)
    )
    assert_array_equal(again, samples[3])


def test_a_sample_at_low_temperature_is_argmax():
    logits = random_logits((4, 4, 1, 3), seed=3)
    cold = decoding.decode(
        logits, JOINT, LUV, method="sample", temperature=1e-6, key=jax.random.key(0)
    )
    assert_array_equal(cold, decoding.decode(logits, JOINT, LUV, method="argmax"))


def test_bfloat16_logits_are_decoded_in_float32():
    logits = random_logits((3, 3, 2, 5)).astype(jnp.bfloat16)
    for method in decoding.METHODS:
        found = decoding.decode(
            logits, CHANNELS, LUV, method=method, temperature=0.5, key=jax.random.key(0)
        )
        assert found.dtype == jnp.float32 and found.shape == (3, 3, 2)
        exact = decoding.decode(
            logits.astype(jnp.float32),
            CHANNELS,
            LUV,
            method=method,
            temperature=0.5,
            key=jax.random.key(0),
        )
        assert_array_equal(found, exact)


def test_an_unknown_method_and_a_sample_without_a_key_are_refused():
    with pytest.raises(ValueError, match="'mode', want one of"):
        decoding.decode(jnp.zeros((2, 5)), CHANNELS, LUV, method="mode")
    with pytest.raises(ValueError, match="wants a key"):
        decoding.decode(jnp.zeros((2, 5)), CHANNELS, LUV, method="sample")
