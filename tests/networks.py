"""Small untrained networks for the tests."""

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.models import build
from colorjax.models.task import Statistics
from colorjax.settings import complete
from colorjax.weights import checkpoint, runs
from colorjax.weights.released import Network
from configs.classify import get_config


def tiny_network(**changes) -> Network:
    """The classification network at a sixteenth of its width, with `changes` to its config."""
    config = get_config()
    config.model.width = 1 / 16
    config.data.load_size = 64
    config.update_from_flattened_dict(changes)
    settings = complete(config)
    model = build.build_model(settings)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    # The logits of a fresh network differ so little that the mean colour would be almost gray,
    # and exactly gray where no feature is active.
    params = dict(variables["params"])
    for name in params:
        if name.endswith("_logits"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            bias = jax.random.normal(jax.random.key(len(params)), bias.shape)
            params[name] = {"kernel": 20 * kernel, "bias": bias}
    return Network(settings, uniform_statistics(settings), {**variables, "params": params})


def uniform_statistics(settings) -> Statistics:
    """The statistics of a training set that has each bin's centre equally often."""
    centers = build.build_binning(settings.bins, settings.space).centers
    return Statistics(np.ones(centers.shape[:2]), np.asarray(centers, np.float64))


def rebalanced_network(share: float) -> Network:
    """A network with a mostly grayish training set; decoding keeps `share` of the rebalancing."""
    changes = {"rebalance.enabled": True, "decoding.method": "mean", "decoding.rebalance": share}
    counts = np.ones((2, 50))
    counts[:, 20:30] = 1e4
    means = np.broadcast_to(np.linspace(-98, 98, 50)[:, None], (2, 50, 1))
    return tiny_network(**changes)._replace(statistics=Statistics(counts, means))


def save_run(folder, network: Network, *, step=1, **data):
    """Writes a network as the folder of a training run; returns the folder.

    `data` are numbers of pictures. For a run with an average, `network.variables` is its state.
    """
    runs.write_settings(folder, network.config)
    statistics = runs.statistics_as_json(network.statistics)
    record = {"bins": statistics, "data": data, "encoder": "random"}
    runs.write_json(folder / "record.json", record)
    manager = checkpoint.open_manager(folder, best_metric=runs.BEST_METRIC)
    with checkpoint.closing(manager):
        checkpoint.save(manager, step, network.variables, config={}, position={}, metrics={})
    return folder
