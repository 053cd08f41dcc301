"""A first check that the network can overfit 270 photographs (the paper, section 5.2).

    python -m colorjax.main --config=configs/overfit.py --config.data.source=folder:PATH

The training loss should fall far below the loss on the hold-out set. `configs/overfit.py:paper`
uses the paper's image size, for a GPU.
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """Builds a variant of `configs/classify.py` for 300 photographs, 30 of them held out."""
    config = classify.get_config(variant)
    config.data.max_images = 300
    config.optimizer.learning_rate = 1e-3  # the paper's for this check
    config.num_steps = 2_000
    config.log_every = 20
    config.eval_every = 500
    config.checkpoint_every = 500
    return config
