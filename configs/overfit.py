"""Can the network learn 270 photographs by heart, as a first check (the paper, section 5.2)?

    python -m colorjax.main --config=configs/overfit.py --config.data.source=folder:PATH

The training loss should fall far below that of the hold-out. `configs/overfit.py:paper` is the
paper's own size, for a GPU.
"""

from ml_collections import ConfigDict

from configs import classify


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample` and `paper` as in `configs/classify.py`, on 300 photographs, 30 of them held out."""
    config = classify.get_config(variant)
    config.data.max_images = 300
    config.optimizer.learning_rate = 1e-3  # the paper's, for this
    config.num_steps = 2_000
    config.log_every = 20
    config.eval_every = 500
    config.checkpoint_every = 500
    return config
