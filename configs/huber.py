"""The threshold M of the Huber loss, which the paper leaves open (section 3.1), by measurement.

    python -m colorjax.main --config=configs/huber.py --config.data.source=folder:PATH
"""

from ml_collections import ConfigDict

from configs import regress


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample` and `paper` as in `configs/classify.py`, with a run for each M."""
    config = regress.get_config(variant)
    config.regression.loss = "huber"
    config.mode = "sweep"
    config.sweep = (("regression.huber_m", (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),)
    config.eval_every = config.num_steps
    return config
