import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.testing import assert_allclose

from colorjax.ops import losses


def test_cross_entropy_of_equal_logits_is_the_log_of_their_count():
    assert_allclose(losses.cross_entropy(jnp.zeros((2, 50)), jnp.array([0, 49])), np.log(50), 1e-6)


def test_cross_entropy_equals_a_hand_computed_case():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    assert_allclose(
        losses.cross_entropy(logits, jnp.array([1, 2])), [-np.log(0.2), -np.log(0.8)], 1e-5
    )


def test_cross_entropy_takes_bfloat16_and_huge_logits():
    loss = losses.cross_entropy(jnp.array([[1e4, 0.0]], jnp.bfloat16), jnp.array([1]))
    assert loss.dtype == jnp.float32
    assert_allclose(loss, [1e4], rtol=1e-2)


def test_squared_error_is_the_square_of_the_difference():
    assert_allclose(losses.squared_error(jnp.array([1.0, -2.0]), jnp.array([3.0, -2.0])), [4, 0])


def test_huber_is_a_parabola_continued_by_its_tangents():
    u = jnp.array([-3.0, -1.0, 0.5, 1.0, 2.0])
    assert_allclose(losses.huber(u, jnp.zeros(5), 1.0), [5.0, 1.0, 0.25, 1.0, 3.0])


def test_huber_is_twice_that_of_optax():
    u = jnp.linspace(-5, 5, 41)
    assert_allclose(
        losses.huber(u, jnp.zeros(41), 1.7), 2 * optax.losses.huber_loss(u, delta=1.7), rtol=1e-6
    )


def test_the_gradient_of_cross_entropy_is_that_of_optax():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (4, 5, 50)), jnp.float32)
    bins = jnp.asarray(rng.integers(0, 50, (4, 5)))
    weights = jnp.asarray(rng.uniform(0, 1, (4, 5)), jnp.float32)
    cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    mine, theirs = (
        jax.grad(lambda x: jnp.sum(weights * f(x, bins)))(logits)  # noqa: B023
        for f in (losses.cross_entropy, cross_entropy)
    )
    assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_cross_entropy_saves_bfloat16_logits_in_bfloat16_for_its_gradient():
    logits, bins = jnp.zeros((3, 50), jnp.bfloat16), jnp.array([0, 1, 2])
    _, gradient = jax.vjp(lambda x: losses.cross_entropy(x, bins), logits)
    saved = [x for x in jax.tree.leaves(gradient) if getattr(x, "shape", None) == logits.shape]
    assert [x.dtype for x in saved] == [jnp.bfloat16]


def test_soft_cross_entropy_has_the_value_and_gradient_of_optax():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (4, 5, 1, 50)), jnp.float32)
    targets = jax.nn.softmax(jnp.asarray(rng.normal(0, 3, logits.shape), jnp.float32))
    weights = jnp.asarray(rng.uniform(0, 1, (4, 5, 1)), jnp.float32)
    mine, theirs = (
        jax.value_and_grad(lambda x: jnp.sum(weights * f(x, targets)))(logits)  # noqa: B023
        for f in (losses.soft_cross_entropy, optax.losses.softmax_cross_entropy)
    )
    assert_allclose(mine[0], theirs[0], rtol=1e-6)
    assert_allclose(mine[1], theirs[1], rtol=1e-5, atol=1e-7)
    huge = losses.soft_cross_entropy(jnp.array([[1e4, 0.0]], jnp.bfloat16), jnp.array([[0.0, 1.0]]))
    assert_allclose(huge, [1e4], rtol=1e-2)
