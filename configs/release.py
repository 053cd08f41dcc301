"""The model that colorjax is released with: light enough for a laptop, both to train and to use.

    launch/train_release.sh FOLDER...

trains in two stages, of which the second goes on from the first with larger crops and a milder
rebalancing. A single one: --config=configs/release.py:classify,first

SqueezeNet pretrained on ImageNet (auto: fetched once), a decoder of three units, so that colour is
predicted at a quarter of the picture's sides, 449 joint bins of CIELUV, and what Zhang, Isola and
Efros (2016) made of the paper's classification: soft targets, rare colours that weigh more, an
annealed mean. The input alone is made to look old, and what is measured and released is an average
of the network over the last steps. 1.7 million parameters.

Two CPU cores that did other work too: 15 images/s, an hour a stage.
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError
from configs import classify

VARIANTS = ("classify", "regress", "gpu")
STAGES = ("first", "second")


def get_config(choice: str = "classify,first") -> ConfigDict:
    """VARIANT,STAGE: one of each; the first stage unless said.

    `classify`: the released model. `regress`: the paper's regression under the same budget.
    `gpu`: the same recipe over VGG16, for a GPU; not yet measured.
    """
    variant, _, stage = choice.partition(",")
    if variant not in VARIANTS or stage not in ("", *STAGES):
        raise UserError(
            f"configs/release.py has no {choice!r}, want one of {', '.join(VARIANTS)}, and after "
            f"a comma one of {', '.join(STAGES)}"
        )
    config = classify.get_config()
    config.data.load_size = 144
    config.data.crop_size = 112
    config.data.holdout = 0.02
    config.data.statistics_images = 4_000
    config.batch_size = 32
    config.num_steps = 1_800
    config.log_every = 20
    config.eval_every = 600
    config.checkpoint_every = 100
    config.figure_images = 10
    config.ageing = 1.0
    config.ema = 0.998
    config.bins.layout = "joint"
    config.bins.softness = 5.0
    config.rebalance.enabled = True
    config.decoding.method = "annealed"
    # More of either is more vivid, and further from the truth: docs/model_card.md has the figures.
    config.decoding.temperature = 0.7
    config.decoding.rebalance = 0.6
    config.model.encoder = "squeezenet"
    config.model.decoder_features = (256, 128, 64)
    config.model.final_features = (96,)
    config.optimizer.learning_rate = 7e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 150
    config.optimizer.clip_norm = 1.0
    config.optimizer.weight_decay = 1e-2
    if stage == "second":
        config.data.crop_size = 128
        config.rebalance.uniform = 0.7
        config.optimizer.learning_rate = 5e-4
        config.optimizer.warmup_steps = 100
    if variant == "regress":
        config.objective = "regression"
    if variant == "gpu":
        config.model.encoder = "vgg16"  # with three units, outputs of half the sides
        config.model.dtype = "bfloat16"
        config.batch_size = 128
        config.num_steps = 20_000
        config.optimizer.warmup_steps = 1_000
        config.eval_every = 2_000
        config.checkpoint_every = 500
        config.data.num_threads = 8
    return config
