"""The paper's networks in JAX: colorjax's, and a plain Flax implementation."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contender import Contender
from benchmarks.settings import NUM_BINS, Settings, examples
from colorjax.models.colorizer import ColorizationNet
from colorjax.ops import losses
from colorjax.training import parallel

MEAN_RGB = (123.68, 116.779, 103.939)
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512))
TAPS = ("block4_conv3", "block3_conv3", "block2_conv2", "block1_conv2")
UNITS = (256, 128, 64, 64)
FINALS = (128, 64, 64)


class PlainColorizer(nn.Module):
    """The paper's network in plain Flax, with Flax's pooling and maps concatenated at full size.

    The variables have the names and shapes of `ColorizationNet`, so that each can load the other's.
    """

    num_bins: int | None = NUM_BINS
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, gray, train=False):
        taps = self.encode(gray, train)
        x = self.norm(taps[TAPS[0]], train, f"{TAPS[0]}_norm", use_bias=False)
        maps = [self.conv_norm(x, UNITS[0], 1, train, "unit1")]
        units = UNITS[1:] if self.num_bins else UNITS[1:-1]
        for i, (tap, depth) in enumerate(zip(TAPS[1:], units, strict=False), start=2):
            x = enlarge(maps[-1], 2) + self.norm(taps[tap], train, f"{tap}_norm")
            maps.append(self.conv_norm(x, depth, 3, train, f"unit{i}"))
        if self.num_bins is None:
            skip = self.norm(taps[TAPS[-1]], train, f"{TAPS[-1]}_norm")
            return nn.Conv(2, (3, 3), dtype=self.dtype, name="chroma")(enlarge(maps[-1], 2) + skip)
        joined = [enlarge(x, factor) for x, factor in zip(maps, (8, 4, 2, 1), strict=True)]
        x = jnp.concatenate(joined, axis=-1)
        for i, depth in enumerate(FINALS, start=1):
            depth = max(1, int(depth * self.width))
            x = nn.relu(nn.Conv(depth, (3, 3), dtype=self.dtype, name=f"final{i}")(x))
        heads = [
            nn.Conv(self.num_bins, (1, 1), dtype=self.dtype, name=name)(x)
            for name in ("u_logits", "v_logits")
        ]
        return jnp.stack(heads, axis=-2)

    def encode(self, gray, train):
        encoder = PlainEncoder(self.width, self.dtype, name="encoder")
        return encoder(jnp.repeat(gray, 3, axis=-1) - jnp.asarray(MEAN_RGB), train)

    def conv_norm(self, x, depth, size, train, name):
        return conv_norm(x, max(1, int(depth * self.width)), size, train, name, self.dtype)

    def norm(self, x, train, name, use_bias=True):
        return batch_norm(train, name, self.dtype, use_bias)(x)


class PlainEncoder(nn.Module):
    """VGG16 up to its fourth block; returns {name: activation}."""

    width: float
    dtype: Any

    @nn.compact
    def __call__(self, x, train):
        taps = {}
        for block, (convs, depth) in enumerate(BLOCKS, start=1):
            if block > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            for i in range(1, convs + 1):
                name, features = f"block{block}_conv{i}", max(1, int(depth * self.width))
                x = taps[name] = conv_norm(x, features, 3, train, name, self.dtype)
        return taps


def conv_norm(x, features, size, train, name, dtype):
    x = nn.Conv(features, (size, size), use_bias=False, dtype=dtype, name=name)(x)
    return nn.relu(batch_norm(train, f"{name}_bn", dtype)(x))


def batch_norm(train, name, dtype, use_bias=True):
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-4,
        use_bias=use_bias,
        dtype=dtype,
        name=name,
    )


def enlarge(x, factor):
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


def network(settings: Settings, objective: str, plain: bool) -> nn.Module:
    num_bins = NUM_BINS if objective == "classification" else None
    network_type = PlainColorizer if plain else ColorizationNet
    return network_type(num_bins=num_bins, width=settings.width, dtype=jnp.dtype(settings.dtype))


def random_variables(settings: Settings, objective: str) -> dict:
    """Returns variables as numpy arrays, with random biases and batch statistics.

    Their initial zeros and ones would hide that a network omits them or mixes them up.
    """
    model = network(settings, objective, plain=False)
    fresh = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    rng = np.random.default_rng(1)

    def perturb(x):
        x = np.asarray(x)
        return x + rng.uniform(0, 0.1, x.shape).astype(x.dtype) if x.ndim == 1 else x

    return jax.tree.map(perturb, fresh)


def our_loss(outputs, data):
    if "bins" in data:
        return jnp.mean(jnp.sum(losses.cross_entropy(outputs, data["bins"]), axis=-1))
    error = losses.squared_error(outputs.astype(jnp.float32), data["target"])
    return jnp.mean(jnp.sum(error, axis=-1))


def plain_loss(outputs, data):
    outputs = outputs.astype(jnp.float32)
    if "bins" in data:
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return jnp.mean(jnp.sum(cross_entropy(outputs, data["bins"]), axis=-1))
    return jnp.mean(jnp.sum(jnp.square(outputs - data["target"]), axis=-1))


def update(state, data, model, loss_of, tx):
    """Takes one step of Adam: (params, batch_stats, opt_state), data -> new state, loss."""
    params, batch_stats, opt_state = state

    def loss_fn(params):
        outputs, new = model.apply(
            {"params": params, "batch_stats": batch_stats},
            data["gray"],
            train=True,
            mutable=["batch_stats"],
        )
        return loss_of(outputs, data), new["batch_stats"]

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), batch_stats, opt_state), loss


def contender(settings: Settings, objective: str, variables: dict | None, plain: bool) -> Contender:
    """Returns either network with its training step; see `contender.make`."""
    model, tx = network(settings, objective, plain), optax.adam(1e-3)
    if variables is None:
        variables = random_variables(settings, objective)
    data = jax.device_put(examples(settings))
    data.pop("target" if objective == "classification" else "bins")
    apply = jax.jit(partial(model.apply, train=False))
    # A copy, because the training step donates its buffers.
    inference_variables = jax.device_put(variables)
    params, batch_stats = (jax.device_put(variables[k]) for k in ("params", "batch_stats"))
    state = [(params, batch_stats, tx.init(params))]
    step = jax.jit(
        partial(update, model=model, loss_of=plain_loss if plain else our_loss, tx=tx),
        donate_argnums=0,
        compiler_options=parallel.CPU_OPTIONS if settings.platform == "cpu" and not plain else None,
    )

    def train():
        state[0], loss = step(state[0], data)
        return float(jax.block_until_ready((state[0], loss))[1])

    def peak_bytes():
        memory = jax.devices()[0].memory_stats()
        return memory["peak_bytes_in_use"] if memory else None

    def planned_bytes():
        memory = step.lower(state[0], data).compile().memory_analysis()
        return None if memory is None else memory.temp_size_in_bytes

    return Contender(
        forward=lambda: jax.block_until_ready(apply(inference_variables, data["gray"])),
        outputs=lambda outputs: np.asarray(outputs, np.float32),
        train=train,
        peak_bytes=peak_bytes,
        planned_bytes=planned_bytes,
    )
