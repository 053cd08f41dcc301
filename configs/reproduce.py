"""The paper's two models, all the alternatives that it tries and some that came after, compared.

    python -m colorjax.main --config=configs/reproduce.py

On the bundled photographs: 24 minutes of CPU time, most of it compilation. With four photographs
held out it shows that all of it runs; `docs/reproduction.md` has what 411 photographs say.

Trains every experiment under one budget and writes `report.html` and `report.md`. A reproduction
that was stopped goes on. `--config=configs/reproduce.py:scenes --config.data.source=folder:PATH`
does the same on photographs of your own.
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError
from configs import classify

VARIANTS = ("sample", "scenes", "paper", "petals")

# (name, ((setting, value), ...)): what each run changes. The report's claims find it by its name.
MODELS = (
    # Of the losses that the paper tries it is l2 whose best prediction is the mean (the petals).
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
    # With a rate of its own: at Adam's it would hardly move.
    (
        "nesterov",
        (
            ("optimizer.name", "nesterov"),
            ("optimizer.momentum", 0.9),
            ("optimizer.learning_rate", 0.03),
        ),
    ),
    ("another_seed", (("seed", 1),)),  # by how much do runs differ that differ in nothing?
    # As many photographs as the others see, so other numbers of steps.
    ("batch_4", (("batch_size", 4),)),
    ("batch_8", (("batch_size", 8),)),
    ("batch_12", (("batch_size", 12),)),
    ("channels_soft", (("bins.softness", 5.0),)),
    ("channels_rebalanced", (("rebalance.enabled", True),)),
    ("joint", (("bins.layout", "joint"),)),
    # Zhang, Isola and Efros 2016: all of it together.
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
# What the paper says of its own networks, what matters most first: each takes about an hour.
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
    """What is compared on what.

    `sample`: the bundled photographs, on a CPU. `scenes`: 411 photographs of `data.source` to
    train on, as many as the paper's Open Country has, at 64 pixels. `paper`: the paper's networks
    at full width on as many, at 112 pixels, with photographs that only the report sees; best from
    pretrained weights (`model.encoder_weights`). `petals`: the two models alone, on the set
    `petals`.
    """
    if variant not in VARIANTS:
        raise UserError(
            f"configs/reproduce.py has no variant {variant!r}, want {', '.join(VARIANTS)}"
        )
    made = {"sample": sample, "scenes": scenes, "paper": paper, "petals": petals}
    config = made[variant]()
    config.mode = "reproduce"
    config.experiments = {"petals": MODELS, "paper": PAPER}.get(variant, MODELS + ALTERNATIVES)
    config.decodings = DECODINGS
    # Runs that are decoded in several ways, and runs that figures show beside the truth.
    daring = ("zhang",) if variant in ("sample", "scenes") else ()
    config.decoded = ("classification", *daring)
    config.pictured = ("regression", "classification", *daring)
    if variant == "paper":
        config.pictured = ("regression", "regression_huber", "classification")
    return config


def sample() -> ConfigDict:
    config = classify.get_config("sample")
    config.data.holdout = 0.3  # 4 of the 12: a single one would measure nothing
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
    config.data.max_images = 548  # 411 to train on, and enough to measure on
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
    config.data.max_images = 548  # 411 to train on, an eighth to choose and an eighth to test by
    config.data.holdout = config.data.test = 0.125
    config.num_steps = 1_400  # each photograph twenty times
    config.log_every = 20
    config.eval_every = 200
    config.checkpoint_every = 50
    return config


def petals() -> ConfigDict:
    from configs import petals  # its set is drawn by a program that the others do without

    return petals.get_config("classify")
