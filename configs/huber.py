"""Sweep over the threshold M of the Huber loss (the paper, section 3.5), which is not stated there.

    python -m colorjax.main --config=configs/huber.py --config.data.source=folder:PATH

Measured on 408 photographs of mountains, 140 of them held out, at 64 pixels with model.width=0.25,
600 steps of batch size 6 and optimizer.schedule=cosine (18 min on two CPU cores that did other work
too). M = 0.02, 0.05, 0.1, 0.2, 0.5 and 1 gave L_reg 424, 419, 420, 421, 439 and 461; M = 1 equals
l2 except for outliers. PSNR was 24.5 dB up to M = 0.2, then 24.3 and 23.9 dB. The default is
therefore 0.1, which is 10 units of chroma.
"""

from ml_collections import ConfigDict

from configs import regress


def get_config(variant: str = "sample") -> ConfigDict:
    """Builds the sweep, with the variants of `configs/classify.py`."""
    config = regress.get_config(variant)
    config.mode = "sweep"
    config.sweep_by = "l_reg"  # losses of different M are not comparable
    config.sweep = (("regression.huber_m", (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),)
    config.eval_every = config.num_steps
    return config
