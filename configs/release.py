"""The model that colorjax is released with."""

from ml_collections import ConfigDict

from colorjax.errors import UserError
from configs import classify


def get_config(variant: str = "classify") -> ConfigDict:
    if variant not in ("classify", "regress", "gpu"):
        raise UserError(
            f"configs/release.py has no variant {variant!r}, want classify, regress or gpu"
        )
    config = classify.get_config()
    config.data.load_size = 144
    config.data.crop_size = 128
    config.data.holdout = 0.02
    config.data.statistics_images = 4000
    config.batch_size = 32
    config.num_steps = 6_000
    config.log_every = 20
    config.eval_every = 500
    config.checkpoint_every = 100
    config.figure_images = 10
    config.ageing = 1.0
    config.ema = 0.999
    config.bins.layout = "joint"
    config.bins.softness = 5.0
    config.rebalance.enabled = True
    config.decoding.method = "annealed"
    config.model.encoder = "squeezenet"
    config.model.decoder_features = (256, 128, 64)
    config.model.final_features = (128, 64)
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 300
    config.optimizer.clip_norm = 1.0
    config.optimizer.weight_decay = 1e-2
    if variant == "regress":
        config.objective = "regression"
    return config
