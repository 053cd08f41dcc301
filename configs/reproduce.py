"""Comparison of the paper's two models, all alternatives that it tries, and some of later work.

    python -m colorjax.main --config=configs/reproduce.py

It trains every experiment with the same budget and writes `report.html` and `report.md`. The same
command resumes an interrupted reproduction.

On the bundled photographs it takes 24 minutes of CPU time, most of it compilation. With only four
photographs held out, this shows no more than that all experiments run; `docs/reproduction.md` has
the results for 411 photographs. For photographs of your own, use
`--config=configs/reproduce.py:scenes --config.data.source=folder:PATH`.
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError
from configs import classify

VARIANTS = ("sample", "scenes", "paper", "petals")

# (name, ((setting, value), ...)): the settings that each run changes. The claims of the report
# refer to runs by these names.
MODELS = (
    # l2 is the loss of the paper whose best prediction is the mean, as in the petals example.
    ("regression", (("objective", "regression"),)),
    ("classification", ()),
)
HUBER = (("objective", "regression"), ("regression.loss", "huber"))
ALTERNATIVES = (
    ("regression_huber", HUBER),
    ("regression_hsv", (("objective", "regression"), ("space", "hsv"))),
    ("merge_sum", (("model.merge", "sum"),)),
    ("pools", (("model.residual_units", False),)),
    ("final_1", (("model.final_features", (64,)),)),
    ("final_2", (("model.final_features", (128, 64)),)),
    ("final_wide", (("model.final_features", (256, 128, 64)),)),
    ("encoder_without_norm", (("model.encoder_batch_norm", False),)),
    ("bilinear", (("model.upscaling", "bilinear"),)),
    ("lab", (("space", "lab"),)),
    ("yuv", (("space", "yuv"),)),
    ("hsv", (("space", "hsv"),)),
    ("adam_b2_0.99", (("optimizer.b2", 0.99),)),
    # It has its own learning rate, because Adam's is much too small for it.
    (
        "nesterov",
        (
            ("optimizer.name", "nesterov"),
            ("optimizer.momentum", 0.9),
            ("optimizer.learning_rate", 0.03),
        ),
    ),
    ("another_seed", (("seed", 1),)),  # measures how much runs differ by chance
    # All runs see the same number of photographs, so the number of steps varies here.
    ("batch_4", (("batch_size", 4),)),
    ("batch_8", (("batch_size", 8),)),
    ("batch_12", (("batch_size", 12),)),
    ("channels_soft", (("bins.softness", 5.0),)),
    ("channels_rebalanced", (("rebalance.enabled", True),)),
    ("joint", (("bins.layout", "joint"),)),
    # All components of Zhang, Isola and Efros 2016 together.
    (
        "zhang",
        (
            ("bins.layout", "joint"),
            ("bins.softness", 5.0),
            ("rebalance.enabled", True),
            ("decoding.method", "annealed"),
        ),
    ),
)
# The runs for the paper's claims about its own networks, the most important first; each takes about
# an hour.
PAPER = (
    ("classification", ()),
    ("regression_huber", HUBER),
    ("another_seed", (("seed", 1),)),
    ("regression_huber_another_seed", (*HUBER, ("seed", 1))),
    ("regression", (("objective", "regression"),)),
    *(
        (name, changes)
        for name, changes in ALTERNATIVES
        if name in ("merge_sum", "pools", "final_1", "final_2", "hsv")
    ),
)
DECODINGS = (
    ("argmax", (("decoding.method", "argmax"),)),
    *(
        (f"annealed {t}", (("decoding.method", "annealed"), ("decoding.temperature", t)))
        for t in (0.2, 0.38, 0.6, 0.8)
    ),
    ("mean", (("decoding.method", "mean"),)),
    ("sample", (("decoding.method", "sample"), ("decoding.temperature", 1.0))),
)


def get_config(variant: str = "sample") -> ConfigDict:
    """Builds the config of a comparison.

    Variants:
      sample: the bundled photographs, on a CPU.
      scenes: 411 training photographs from `data.source`, as many as the paper's Open Country has,
        at 64 pixels.
      paper: the paper's networks at full width on as many photographs, at 112 pixels, with a test
        set that only the report uses. Pretrained weights (`model.encoder_weights`) are recommended.
      petals: only the two models, on the data set `petals`.
    """
    if variant not in VARIANTS:
        raise UserError(
            f"configs/reproduce.py has no variant {variant!r}, want {', '.join(VARIANTS)}"
        )
    builders = {"sample": sample, "scenes": scenes, "paper": paper, "petals": petals}
    config = builders[variant]()
    config.mode = "reproduce"
    config.experiments = {"petals": MODELS, "paper": PAPER}.get(variant, MODELS + ALTERNATIVES)
    config.decodings = DECODINGS
    # `decoded` names the runs to decode by every method, `pictured` those that figures compare with
    # the truth.
    zhang = ("zhang",) if variant in ("sample", "scenes") else ()
    config.decoded = ("classification", *zhang)
    config.pictured = ("regression", "classification", *zhang)
    if variant == "paper":
        config.pictured = ("regression", "regression_huber", "classification")
    return config


def sample() -> ConfigDict:
    config = classify.get_config("sample")
    config.data.holdout = 0.3  # 4 of the 12, because a single photograph is not meaningful
    config.data.load_size = 56
    config.data.crop_size = 48
    config.model.width = 0.25
    config.model.encoder_weights = "none"
    config.num_steps = 100
    config.log_every = 5
    config.eval_every = 20
    config.checkpoint_every = 100
    return config


def scenes() -> ConfigDict:
    config = classify.get_config("sample")
    config.data.max_images = 548  # 411 for training and 137 for evaluation
    config.data.holdout = 0.25
    config.model.width = 0.25
    config.model.encoder_weights = "none"
    config.num_steps = 600
    config.log_every = 20
    config.eval_every = 150
    config.checkpoint_every = 150
    return config


def paper() -> ConfigDict:
    config = classify.get_config("paper")
    config.data.load_size = config.data.crop_size = 112
    config.data.max_images = 548  # 411 for training, an eighth each for hold-out and test
    config.data.holdout = config.data.test = 0.125
    config.num_steps = 1_400  # each photograph is seen twenty times
    config.log_every = 20
    config.eval_every = 200
    config.checkpoint_every = 50
    return config


def petals() -> ConfigDict:
    from configs import petals  # imported here because only this variant needs it

    return petals.get_config("classify")
