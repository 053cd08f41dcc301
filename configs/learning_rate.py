"""Sweep over learning rates on a logarithmic scale (the paper, section 5.2).

    python -m colorjax.main --config=configs/learning_rate.py

It trains the classification network six times and writes a table, a plot and the best run to
`runs/learning_rate/`. The same command resumes an interrupted sweep.
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """Builds the sweep, with the variants of `configs/classify.py` and a fifth of their steps."""
    config = classify.get_config(variant)
    config.mode = "sweep"
    config.sweep = (("optimizer.learning_rate", (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),)
    config.num_steps //= 5
    config.eval_every = config.num_steps
    return config
