import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.models.colorizer import ENCODERS, ColorizationNet
from colorjax.ops import winograd

GRAY = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (2, 16, 24, 1)), jnp.float32)

# VGG16's kernels up to block4_conv3, by hand: 9 * in * out each.
ENCODER_KERNELS = 9 * (
    3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512 + 2 * 512 * 512
)
ENCODER_CHANNELS = 2 * 64 + 2 * 128 + 3 * 256 + 3 * 512
TAP_NORMS = 512 + 2 * (256 + 128 + 64)  # the deepest has no bias
UNITS = 512 * 256 + 9 * (256 * 128 + 128 * 64 + 64 * 64) + 2 * (256 + 128 + 64 + 64)
HEADS = 2 * (64 * 50 + 50)


REGRESSION = (
    ENCODER_KERNELS
    + 2 * ENCODER_CHANNELS
    + TAP_NORMS
    + 512 * 256
    + 9 * (256 * 128 + 128 * 64)
    + 2 * (256 + 128 + 64)  # three units
    + 9 * 64 * 2
    + 2
)


def final_convs(inputs):
    return 9 * (inputs * 128 + 128 * 64 + 64 * 64) + 128 + 64 + 64


PAPER = ENCODER_KERNELS + 2 * ENCODER_CHANNELS + TAP_NORMS + UNITS + final_convs(512) + HEADS


def init(model, gray=GRAY):
    return jax.jit(model.init)(jax.random.key(0), gray)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "settings, parameters",
    [
        ({}, PAPER),
        ({"upscaling": "bilinear"}, PAPER),
        ({"encoder_batch_norm": False}, PAPER - ENCODER_CHANNELS),  # a bias instead of two
        ({"final_batch_norm": True}, PAPER + 128 + 64 + 64),  # two instead of a bias
        ({"merge": "sum"}, PAPER - final_convs(512) + final_convs(64) + 64 * (256 + 128 + 64 + 64)),
        (
            {"residual_units": False},
            PAPER - TAP_NORMS - UNITS + 2 * 960 - final_convs(512) + final_convs(960),
        ),
        ({"final_features": (64,)}, PAPER - final_convs(512) + 9 * 512 * 64 + 64),
        (
            {"decoder_features": (256, 128, 32, 64)},  # block1_conv2 is projected to 32
            PAPER - 9 * 32 * (128 + 64) - 2 * 32 + 64 * 32 - 9 * 32 * 128,
        ),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_each_structure_has_its_hand_counted_parameters_and_shape(settings, parameters):
    model = ColorizationNet(**settings)
    variables = jax.eval_shape(model.init, jax.random.key(0), GRAY)
    assert count(variables["params"]) == parameters
    logits = jax.eval_shape(model.apply, variables, GRAY)
    assert logits.shape == (2, 16, 24, 2, 50)


def test_a_joint_network_has_one_head_for_all_bins():
    model = ColorizationNet(heads=("uv",), num_bins=313)
    variables = jax.eval_shape(model.init, jax.random.key(0), GRAY)
    assert {"uv_logits"} == {name for name in variables["params"] if name.endswith("_logits")}
    assert count(variables["params"]) == PAPER - HEADS + 64 * 313 + 313
    assert jax.eval_shape(model.apply, variables, GRAY).shape == (2, 16, 24, 1, 313)


def test_the_regression_network_has_its_hand_counted_parameters_and_shape():
    model = ColorizationNet(num_bins=None)
    variables = jax.eval_shape(model.init, jax.random.key(0), GRAY)
    assert count(variables["params"]) == REGRESSION
    assert jax.eval_shape(model.apply, variables, GRAY).shape == (2, 16, 24, 2)


def small(num_bins=5, **settings):
    return ColorizationNet(width=1 / 16, num_bins=num_bins, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"merge": "sum"}, marks=pytest.mark.slow),
        pytest.param({"residual_units": False}, marks=pytest.mark.slow),
        pytest.param({"num_bins": None}, marks=pytest.mark.slow),
    ],
)
def test_every_parameter_has_a_gradient(settings):
    model = small(**settings)
    variables = init(model)

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params}, GRAY, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jax.nn.log_softmax(outputs)[..., 0])

    grads = jax.jit(jax.grad(loss))(variables["params"])
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(g).all() and np.abs(g).max() > 0, jax.tree_util.keystr(path)


STRUCTURES = [{}, {"merge": "sum", "residual_units": False}, {"final_batch_norm": True}]
MORE_STRUCTURES = [
    {"merge": "sum"},
    {"residual_units": False},
    {"final_features": ()},
    {"final_features": (16,)},
    {"upscaling": "bilinear", "merge": "sum"},
]


@pytest.mark.parametrize(
    "settings",
    [*STRUCTURES, *(pytest.param(more, marks=pytest.mark.slow) for more in MORE_STRUCTURES)],
    ids=str,
)
def test_fused_and_plain_have_the_same_parameters_and_logits(settings):
    fused, plain = small(**settings), small(**settings, fused=False)
    variables = init(fused)
    jax.tree.map(assert_array_equal, variables, init(plain))
    # Biases start at zero, which would hide a missing one.
    variables = jax.tree.map(lambda x: x + 0.1, variables)
    logits, expected = (jax.jit(m.apply)(variables, GRAY) for m in (fused, plain))
    assert_allclose(logits, expected, rtol=0, atol=1e-5 * float(jnp.abs(expected).max()))


def test_fused_and_plain_have_the_same_gradients_in_training():
    variables = init(small())

    def grads(model):
        def loss(params):
            logits, _ = model.apply(
                {**variables, "params": params}, GRAY, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(jax.nn.log_softmax(logits)[..., 0])

        return jax.jit(jax.grad(loss))(variables["params"])

    fused, plain = grads(small()), grads(small(fused=False))
    largest = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=0, atol=1e-4 * largest), fused, plain)


def test_fused_never_makes_the_full_size_concatenation():
    model = small()
    channels = sum((16, 8, 4, 4))
    variables = jax.eval_shape(model.init, jax.random.key(0), GRAY)
    joined = f"f32[2,16,24,{channels}]"
    assert joined in str(jax.make_jaxpr(small(fused=False).apply)(variables, GRAY))
    assert joined not in str(jax.make_jaxpr(model.apply)(variables, GRAY))


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    model = small(dtype=jnp.bfloat16)
    variables = init(model)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits = jax.jit(model.apply)(variables, GRAY)
    assert logits.dtype == jnp.bfloat16
    exact = jax.jit(small().apply)(variables, GRAY)
    assert_allclose(logits.astype(jnp.float32), exact, atol=0.1 * float(jnp.abs(exact).max()))


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch():
    model = small()
    variables = init(model)
    apply = jax.jit(model.apply)
    assert_allclose(apply(variables, GRAY[1:]), apply(variables, GRAY)[1:], atol=1e-4)


def test_a_side_that_is_not_a_multiple_of_8_is_refused():
    with pytest.raises(ValueError, match="20x24"):
        init(small(), jnp.zeros((1, 20, 24, 1)))


def test_an_unknown_merge_is_refused():
    with pytest.raises(ValueError, match="'mean'"):
        init(small(merge="mean"))


# SqueezeNet 1.1 without its classifier, as its authors count it: 1,235,496 - (512 * 1000 + 1000).
SQUEEZENET = 1_235_496 - 513_000
LIGHT_NORMS = 512 + 2 * (256 + 128)
LIGHT_GRAY = GRAY[:, :, :16]


@pytest.mark.parametrize(
    "settings, parameters, side",
    [
        (
            {"final_features": (128,)},
            SQUEEZENET
            + LIGHT_NORMS
            + 512 * 256
            + 9 * (256 * 128 + 128 * 64)
            + 2 * (256 + 128 + 64)
            + 9 * 448 * 128
            + 128
            + 2 * (128 * 50 + 50),
            4,
        ),
        (
            {"final_features": (), "decoder_features": (256, 128, 64, 64)},
            SQUEEZENET + LIGHT_NORMS + 2 * 64 + UNITS + 2 * (512 * 50 + 50),
            8,
        ),
        (
            {"num_bins": None},
            SQUEEZENET
            + LIGHT_NORMS
            + 512 * 256
            + 9 * 256 * 128
            + 2 * (256 + 128)
            + 9 * 128 * 2
            + 2,
            4,
        ),
        (
            {"residual_units": False, "final_features": ()},
            SQUEEZENET + 2 * 896 + 2 * (896 * 50 + 50),
            4,
        ),
    ],
    ids=str,
)
def test_with_squeezenet_it_has_its_hand_counted_parameters_and_shape(settings, parameters, side):
    model = ColorizationNet(
        **{"encoder": "squeezenet", "decoder_features": (256, 128, 64), **settings}
    )
    variables = jax.eval_shape(model.init, jax.random.key(0), LIGHT_GRAY)
    assert count(variables["params"]) == parameters
    outputs = jax.eval_shape(model.apply, variables, LIGHT_GRAY)
    assert outputs.shape[:3] == (2, side, side)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"merge": "sum"}, {"residual_units": False}], ids=str)
def test_with_squeezenet_fused_and_plain_have_the_same_logits(settings):
    fused, plain = (
        small(encoder="squeezenet", decoder_features=(256, 128, 64), fused=f, **settings)
        for f in (True, False)
    )
    variables = jax.tree.map(lambda x: x + 0.1, init(fused, LIGHT_GRAY))
    logits, expected = (jax.jit(m.apply)(variables, LIGHT_GRAY) for m in (fused, plain))
    assert_allclose(logits, expected, rtol=0, atol=1e-5 * float(jnp.abs(expected).max()))


def test_three_decoder_units_on_vgg16_predict_at_half_the_size():
    model = small(decoder_features=(256, 128, 64))
    variables = jax.eval_shape(model.init, jax.random.key(0), GRAY)
    assert jax.eval_shape(model.apply, variables, GRAY).shape == (2, 8, 12, 2, 5)


def test_sides_not_divisible_by_16_and_unknown_encoders_are_refused():
    with pytest.raises(ValueError, match="16x24, want multiples of 16"):
        init(small(encoder="squeezenet"))
    with pytest.raises(ValueError, match="encoder is 'resnet', want one of"):
        init(small(encoder="resnet"))


def test_skip_batch_norm_decides_whether_the_encoders_maps_have_a_norm():
    gray = jnp.zeros((1, 16, 16, 1))
    shapes = [
        jax.eval_shape(
            ColorizationNet(width=1 / 16, skip_batch_norm=norm).init, jax.random.key(0), gray
        )
        for norm in (True, False)
    ]
    normed, plain = (set(tree["params"]) for tree in shapes)
    assert normed - plain == {f"{tap}_norm" for tap, _ in ENCODERS["vgg16"].residual}
    assert plain < normed


def test_winograd_convolutions_give_the_same_logits(monkeypatch):
    model = ColorizationNet(width=1 / 2, num_bins=5, decoder_features=(64, 64, 64, 64))
    rng = np.random.default_rng(0)

    def perturbed(x):
        """Moves statistics and biases away from their initial zeros and ones, as training does."""
        return x + jnp.asarray(rng.uniform(0, 0.1, x.shape), x.dtype) if x.ndim == 1 else x

    variables = jax.tree.map(perturbed, init(model))
    expected = jax.jit(model.apply)(variables, GRAY)
    monkeypatch.setattr(winograd, "MIN_PRODUCTS", 1)
    logits = jax.jit(lambda *given: model.apply(*given))(variables, GRAY)
    error = jnp.abs(logits - expected).max() / jnp.abs(expected).max()
    assert 0 < error < 1e-5
