"""The threshold M of the Huber loss, left open (the paper, section 3.5), by measurement.

    python -m colorjax.main --config=configs/huber.py --config.data.source=folder:PATH

408 photographs of mountains, 140 held out, 64 pixels, model.width=0.25, 600 steps of 6 with
optimizer.schedule=cosine (18 min on two CPU cores that did other work too): L_reg 424, 419, 420,
421, 439 and 461 for M 0.02, 0.05, 0.1, 0.2, 0.5 and 1, of which the last is l2 but for outliers;
PSNR 24.5 dB up to 0.2, then 24.3 and 23.9. Hence the default of 0.1, 10 units of chroma.
"""

from ml_collections import ConfigDict

from configs import regress


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample` and `paper` as in `configs/classify.py`, with a run for each M."""
    config = regress.get_config(variant)
    config.mode = "sweep"
    config.sweep_by = "l_reg"  # each M has a loss of its own
    config.sweep = (("regression.huber_m", (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),)
    config.eval_every = config.num_steps
    return config
