"""The released model of colorjax, light enough to train and to use on a laptop.

Without a GPU, train for hours at a constant learning rate, then for half an hour while the rate
decays to zero:

    launch/train_release.sh FOLDER...

Then fine-tune that model on larger photographs. Averaging the weights of several such runs with
different seeds gives a better model than each run (`colorjax export RUN --mean-with OTHER`):

    python -m colorjax.main --config=configs/release.py:classify,larger --config.data.source=...

On a GPU, the same takes minutes:

    launch/train_release_gpu.sh PACKED 240

The encoder is EfficientNet-Lite0 pretrained on ImageNet (auto: downloaded once). The decoder has
four residual units and predicts colour at a quarter of the picture's sides, in 449 joint bins of
CIELUV. Training and decoding follow Zhang, Isola and Efros (2016): soft targets, class rebalancing
and the annealed mean. Ageing degrades only the network's input, not the targets. Evaluation and
release use a moving average of the weights. The model has 4.0 million parameters; two CPU cores
train on 50 to 60 photographs per second (docs/performance.md).
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError
from configs import classify

VARIANTS = ("classify", "regress", "gpu")
STAGES = ("first", "second", "larger", "seen")


def get_config(choice: str = "classify,first") -> ConfigDict:
    """Builds the config for a choice VARIANT[,STAGE].

    The default stage is `first`, or `larger` for the variant `gpu`.

    Variants:
      classify: the released model, on a CPU.
      gpu: the stage `larger` of the released model on a GPU, from a packed folder. It has no stages
        `first` and `second`.
      regress: the paper's regression with the budget of `classify`, always from ImageNet's encoder.

    Stages:
      first: trains at a constant learning rate.
      second: continues the run of `first` in its folder while the learning rate decays to zero. It
        refuses a first stage that has not finished.
      larger: fine-tunes the model bundled with colorjax on larger photographs, in which the encoder
        recognises more, at a lower rate of the encoder so that it does not overfit.
      seen: as `larger`, with a perceptual loss, which takes twice as long.
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
        _decay_rate(config)
    if stage in ("larger", "seen") or variant == "gpu":
        _use_larger_photographs(config)
    if variant == "regress":
        config.objective = "regression"
        config.bins.softness = 0.0
        config.rebalance.enabled = False
        config.decoding.rebalance = 1.0
        config.decoding.vibrance = 0.0
        config.init_from = ""  # the bundled model is a classification network
    if stage == "seen":
        _add_perceptual_loss(config)
    if variant == "gpu":
        _use_gpu(config)
    return config


def _first() -> ConfigDict:
    """Builds the first stage of `classify`, which the other stages and variants modify."""
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
    # Increasing vibrance or rebalance, or lowering the temperature, gives more vivid colours that
    # are further from the truth. docs/model_card.md has the figures.
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


def _decay_rate(config: ConfigDict) -> None:
    config.steps_before = config.num_steps
    config.num_steps = 1_000_000  # num_seconds ends the run
    config.num_seconds = 1_800.0
    config.optimizer.schedule = "cosine"


def _use_larger_photographs(config: ConfigDict) -> None:
    config.init_from = "release"
    config.data.load_size = 192
    config.data.crop_size = 144
    config.data.scale_jitter = 0.5
    config.optimizer.encoder_rate = 0.1
    config.optimizer.weight_decay = 0.1


def _add_perceptual_loss(config: ConfigDict) -> None:
    config.perception.classes = 0.3
    config.perception.maps = 0.05
    config.data.scale_jitter = 0.35
    config.num_steps = 1_000_000
    config.num_seconds = 6_000.0
    config.optimizer.learning_rate = 3e-4
    config.optimizer.encoder_rate = 0.2
    config.optimizer.warmup_steps = 60
    config.optimizer.schedule = "cosine"


def _use_gpu(config: ConfigDict) -> None:
    config.steps_before = 0  # there is no previous stage
    config.data.resident = True
    config.data.crop_size = 160
    config.data.scale_jitter = 0.45
    config.batch_size = 128
    config.num_steps = 1_000_000  # num_seconds ends the run
    config.num_seconds = 200.0
    config.log_every = 50
    config.eval_every = 1_000_000
    config.checkpoint_every = 500
    config.ema = 0.999
    config.model.dtype = "bfloat16"
    config.optimizer.learning_rate *= 2  # the square root of the ratio of the batch sizes
    config.optimizer.warmup_steps = 150
    config.optimizer.schedule = "cosine"
