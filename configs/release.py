"""The model that colorjax is released with: light enough for a laptop, both to train and to use.

Without a GPU, hours at a steady learning rate and half an hour in which it falls to zero:

    launch/train_release.sh FOLDER...

Then from that model on larger photographs, alone or several times with other seeds, of which the
mean of the weights is better than each (`colorjax export RUN --mean-with OTHER`):

    python -m colorjax.main --config=configs/release.py:classify,larger --config.data.source=...

On a GPU, the same in minutes:

    launch/train_release_gpu.sh PACKED 240

EfficientNet-Lite0 pretrained on ImageNet (auto: fetched once), a decoder of four units, so that
colour is predicted at a quarter of the picture's sides, 449 joint bins of CIELUV, and what Zhang,
Isola and Efros (2016) made of the paper's classification: soft targets, rare colours that weigh
more, an annealed mean. The input alone is made to look old, and what is measured and released is an
average of the network over the last steps. 4.0 million parameters; two CPU cores train on 50 to 60
photographs a second (docs/performance.md).
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError
from configs import classify

VARIANTS = ("classify", "regress", "gpu")
STAGES = ("first", "second", "larger", "seen")


def get_config(choice: str = "classify,first") -> ConfigDict:
    """VARIANT,STAGE: one of each; the first stage unless said.

    `classify`: the released model, on a CPU. `gpu`: its stage `larger` on a GPU, from a packed
    folder, which has neither `first` nor `second`. `regress`: the paper's regression under the
    budget of `classify`, always from ImageNet's encoder. `second` goes on in the folder of `first`
    and ends it; it refuses a first stage that has not finished. `larger` goes on from the model
    that colorjax comes with, whose encoder sees more in larger photographs, and slower, so that it
    does not learn the photographs by heart. `seen` does so too, and adds to the loss how
    differently a classifier sees a result and its truth, for which it takes twice as long.
    """
    variant, _, stage = choice.partition(",")
    known = variant in VARIANTS and stage in ("", *STAGES)
    if not known or (variant == "gpu" and stage in ("first", "second")):
        raise UserError(
            f"configs/release.py has no {choice!r}, want one of {', '.join(VARIANTS)}, and after "
            f"a comma one of {', '.join(STAGES)}"
        )
    config = _first()
    if stage == "second":
        _go_to_the_end(config)
    if stage in ("larger", "seen") or variant == "gpu":
        _see_larger(config)
    if variant == "regress":
        config.objective = "regression"
        config.bins.softness = 0.0
        config.rebalance.enabled = False
        config.decoding.rebalance = 1.0
        config.decoding.vibrance = 0.0
        config.init_from = ""  # what colorjax comes with classifies
    if stage == "seen":
        _perceive(config)
    if variant == "gpu":
        _use_a_gpu(config)
    return config


def _first() -> ConfigDict:
    """The first stage of `classify`; the others are changes of it."""
    config = classify.get_config()
    config.data.load_size = 144
    config.data.crop_size = 112
    config.data.scale_jitter = 0.4
    config.data.holdout = 0.1
    config.data.statistics_images = 4_000
    config.batch_size = 32
    config.num_steps = 15_000
    config.log_every = 20
    config.eval_every = 2_000
    config.checkpoint_every = 200
    config.figure_images = 12
    config.ageing = 1.0
    config.frames = 0.08
    config.ema = 0.998
    config.bins.layout = "joint"
    config.bins.softness = 5.0
    config.rebalance.enabled = True
    config.rebalance.uniform = 0.6
    config.decoding.method = "annealed"
    # More of any is more vivid, and further from the truth: docs/model_card.md has the figures.
    config.decoding.temperature = 0.8
    config.decoding.rebalance = 0.2
    config.decoding.vibrance = 5.0
    config.model.encoder = "efficientnet-lite0"
    config.model.train_depthwise = False
    config.model.frozen_stages = 2
    config.model.decoder_features = (256, 128, 96, 64)
    config.model.final_features = (96,)
    config.optimizer.learning_rate = 6e-4
    config.optimizer.encoder_rate = 0.2
    config.optimizer.warmup_steps = 300
    config.optimizer.clip_norm = 5.0
    config.optimizer.weight_decay = 1e-2
    return config


def _go_to_the_end(config: ConfigDict) -> None:
    config.steps_before = config.num_steps
    config.num_steps = 1_000_000  # as many as there is time for
    config.num_seconds = 1_800.0
    config.optimizer.schedule = "cosine"


def _see_larger(config: ConfigDict) -> None:
    config.init_from = "release"
    config.data.load_size = 192
    config.data.crop_size = 144
    config.data.scale_jitter = 0.5
    config.optimizer.encoder_rate = 0.1
    config.optimizer.weight_decay = 0.1


def _perceive(config: ConfigDict) -> None:
    config.perception.classes = 0.3
    config.perception.maps = 0.05
    config.data.scale_jitter = 0.35
    config.num_steps = 1_000_000
    config.num_seconds = 6_000.0
    config.optimizer.learning_rate = 3e-4
    config.optimizer.encoder_rate = 0.2
    config.optimizer.warmup_steps = 60
    config.optimizer.schedule = "cosine"


def _use_a_gpu(config: ConfigDict) -> None:
    config.steps_before = 0  # has one stage alone
    config.data.resident = True
    config.data.crop_size = 160
    config.data.scale_jitter = 0.45
    config.batch_size = 128
    config.num_steps = 1_000_000  # as many as there is time for
    config.num_seconds = 200.0
    config.log_every = 50
    config.eval_every = 1_000_000
    config.checkpoint_every = 500
    config.ema = 0.999
    config.model.dtype = "bfloat16"
    config.optimizer.learning_rate *= 2  # the root of how much larger the batch is
    config.optimizer.warmup_steps = 150
    config.optimizer.schedule = "cosine"
