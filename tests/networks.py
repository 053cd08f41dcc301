"""Small networks that have learnt nothing, for tests of what is done with one."""

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.models import build
from colorjax.weights import checkpoint, runs
from colorjax.weights.released import Network
from configs.classify import get_config


def tiny_network(**changes) -> Network:
    """The classification network at a sixteenth of its width; `changes` are of its config."""
    config = get_config()
    config.model.width = 1 / 16
    config.data.load_size = 64
    config.update_from_flattened_dict(changes)
    model = build.build_model(config)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    # Scores of a fresh network differ so little that a mean of them would be all but gray, and
    # not at all where no feature is active.
    params = dict(variables["params"])
    for name in params:
        if name.endswith("_logits"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            bias = jax.random.normal(jax.random.key(len(params)), bias.shape)
            params[name] = {"kernel": 20 * kernel, "bias": bias}
    return Network(config, None, {**variables, "params": params})


def rebalanced_network(share: float) -> Network:
    """One whose training set was mostly grayish, and that keeps so much of the rebalancing."""
    changes = {"rebalance.enabled": True, "decoding.method": "mean", "decoding.rebalance": share}
    counts = np.ones((2, 50))
    counts[:, 20:30] = 1e4
    means = np.broadcast_to(np.linspace(-98, 98, 50)[:, None], (2, 50, 1))
    statistics = {"counts": counts.tolist(), "means": means.tolist()}
    return tiny_network(**changes)._replace(statistics=statistics)


def save_run(folder, network: Network):
    """Writes a network as the folder of a training run; returns the folder."""
    config = network.config.to_dict()
    runs.write_json(folder / "config.json", config)
    record = {"bins": network.statistics, "data": {}, "encoder": "random"}
    runs.write_json(folder / "record.json", record)
    manager = checkpoint.open_manager(folder, best_metric=runs.BEST_METRIC)
    with checkpoint.closing(manager):
        checkpoint.save(
            manager, 1, network.variables, config=runs.as_json(config), position={}, metrics={}
        )
    return folder
