"""The baseline: regression of U and V of CIELUV (the paper, section 3.5).

    python -m colorjax.main --config=configs/regress.py

The loss is the Huber loss, to which the authors switched. `--config.regression.loss=l2` selects the
loss that they began with, and that runs of older versions of this file used.
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """Builds a variant of `configs/classify.py` with the regression objective and its loss."""
    config = classify.get_config(variant)
    config.objective = "regression"
    config.regression.loss = "huber"
    return config
