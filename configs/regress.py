"""The baseline: regression of CIELUV's U and V as numbers (the paper, section 3.5).

    python -m colorjax.main --config=configs/regress.py

The loss is Huber's, which the authors moved on to; what they began with, and what runs of older
versions of this file have, is `--config.regression.loss=l2`.
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample` and `paper` as in `configs/classify.py`, apart from the objective and its loss."""
    config = classify.get_config(variant)
    config.objective = "regression"
    config.regression.loss = "huber"
    return config
