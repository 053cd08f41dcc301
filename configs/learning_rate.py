"""The search for a learning rate, on a logarithmic scale (the paper, section 5.2).

    python -m colorjax.main --config=configs/learning_rate.py

Trains the classification network six times; the table, the plot and the best are in
`runs/learning_rate/`. A search that was stopped goes on.
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample` and `paper` as in `configs/classify.py`, at a fifth of the steps."""
    config = classify.get_config(variant)
    config.mode = "sweep"
    config.sweep = (("optimizer.learning_rate", (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),)
    config.num_steps //= 5
    config.eval_every = config.num_steps
    return config
