"""The baseline: regression of CIELUV's U and V as numbers (the paper, section 3.5).

    python -m colorjax.main --config=configs/regress.py
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample` and `paper` as in `configs/classify.py`, apart from the objective."""
    config = classify.get_config(variant)
    config.objective = "regression"
    return config
