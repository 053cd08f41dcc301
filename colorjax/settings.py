"""The settings of a run: a complete, validated config.

A config is written by a user, or stored in a run's `config.json` or in a released file. Entry
points convert it to `Settings` with `complete`; all other functions take `Settings`, or the part
of them that they need. A field has a default here if the configs of older versions lack it; the
default reproduces what those versions did. `configs/classify.py` explains each setting.
"""

import dataclasses
import difflib
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from colorjax.errors import UserError, check_at_least, check_choice, check_share
from colorjax.ops import decoding, resample
from colorjax.ops.spaces import SPACES

OBJECTIVES = ("classification", "regression")
REGRESSION_LOSSES = ("l2", "huber")
BIN_LAYOUTS = ("channels", "joint")
BIN_VALUES = ("center", "mean")
FITS = ("crop", "scale")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "nesterov")
DTYPES = ("float32", "bfloat16")
MAX_BINS = 10_000  # per group; the network predicts one logit per pixel and bin
MAX_SEED = 2**32 - 1
MAX_STEPS = 2**31 - 1  # the state counts steps as int32
_MAX_BITS = 128  # of a whole number; far above the limit of each setting


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which photographs are used, and how they are resized and cropped."""

    source: str
    holdout: float
    load_size: int
    crop_size: int
    min_chroma: float
    max_unreadable: float
    num_threads: int
    statistics_images: int
    tfds_dir: str = ""
    cache_dir: str = ""
    max_images: int = 0
    holdout_folders: tuple[str, ...] = ()
    weights: tuple = ()
    scale_jitter: float = 0.0
    resident: bool = False
    fit: str = "crop"
    test: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random augmentation of training photographs."""

    crop: bool = True
    flip: bool = True


@dataclass(frozen=True, kw_only=True)
class Regression:
    """The loss of a network that predicts chroma values directly."""

    loss: str = "l2"
    huber_m: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Bins:
    """The bins that chroma is classified into."""

    num_bins: int
    low: float
    high: float
    value: str
    layout: str = "channels"
    joint_width: float = 10.0
    softness: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rebalance:
    """Whether, and by how much, rare colours get a larger weight in the loss."""

    enabled: bool = False
    uniform: float = 0.5
    sigma: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Perception:
    """Weights of the perceptual loss, computed with EfficientNet-Lite0: see `models/perception.py`.

    Attributes:
      classes: weight of the divergence between the network's class probabilities for the result
        and for the truth.
      maps: weight of the distance between its feature maps for the two.
    """

    classes: float = 0.0
    maps: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How logits are decoded into chroma (`Task.decode`).

    Attributes:
      method: one of `decoding.METHODS`; the paper uses argmax.
      temperature: temperature of the methods annealed and sample, > 0. It may be a traced value,
        as may seed and rebalance.
      seed: random seed of the method sample.
      rebalance: share of the loss's class rebalancing that decoding keeps, in [0, 1].
      vibrance: what `decoding.add_vibrance` adds to the chroma of the methods that average, in
        units of chroma.
    """

    method: str = "argmax"
    temperature: float = 0.38
    seed: int = 0
    rebalance: float = 1.0
    vibrance: float = 0.0


ARGMAX = Decoding()


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network architecture, and the initial weights of its encoder."""

    encoder_weights: str
    calibrate_batch_norm: bool
    encoder_batch_norm: bool
    final_batch_norm: bool
    residual_units: bool
    merge: str
    decoder_features: tuple[int, ...]
    final_features: tuple[int, ...]
    upscaling: str
    width: float
    dtype: str
    encoder: str = "vgg16"
    train_depthwise: bool = True
    frozen_stages: int = 0
    skip_batch_norm: bool = True


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimizer and its learning rate schedule."""

    name: str
    learning_rate: float
    b1: float
    b2: float
    schedule: str
    warmup_steps: int
    clip_norm: float
    weight_decay: float
    momentum: float = 0.9
    encoder_rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a run, in the structure of a config."""

    seed: int
    batch_size: int
    num_steps: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    data: Data
    bins: Bins
    model: Model
    optimizer: Optimizer
    figure_images: int = 6
    max_skipped: int = 20
    steps_before: int = 0
    num_seconds: float = 0.0
    init_from: str = ""
    ema: float = 0.0
    frames: float = 0.0
    ageing: float = 0.0
    accumulate: int = 1
    augment: Augment = Augment()
    objective: str = "classification"
    space: str = "luv"
    regression: Regression = Regression()
    rebalance: Rebalance = Rebalance()
    perception: Perception = Perception()
    decoding: Decoding = ARGMAX
    # The rest is used by studies only.
    mode: str = "train"
    sweep: tuple = ()
    sweep_by: str = "loss"
    sweep_index: int = -1
    experiments: tuple = ()
    decodings: tuple = ()
    decoded: tuple[str, ...] = ()
    pictured: tuple[str, ...] = ()


def complete(config: Any) -> Settings:
    """Converts a config to settings, with defaults for the fields that older versions lack.

    Args:
      config: a ConfigDict, the dict that it came from, or Settings, which are returned unchanged.
    Raises:
      UserError: a setting is missing, unknown, of the wrong type or out of range.
    """
    if isinstance(config, Settings):
        return config
    content = config.to_dict() if hasattr(config, "to_dict") else config
    settings = _read(Settings, content, "")
    check(settings)
    return settings


def as_dict(settings: Settings) -> dict[str, Any]:
    """Returns the config, as a dict, from which `complete` makes these settings."""
    return dataclasses.asdict(settings)


def override(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Returns the settings with some values replaced, and validates them.

    Args:
      settings: the settings to start from.
      changes: dotted name -> new value, {"data.source": "sample"}.
    Raises:
      UserError: there is no such setting, or `complete` rejects the result.
    """
    tree = as_dict(settings)
    for name, value in changes.items():
        *groups, last = name.split(".")
        part = tree
        for group in groups:
            inner = part.get(group)
            if not isinstance(inner, dict):
                raise UserError(f"there is no setting {name!r}")
            part = inner
        part[last] = value
    return complete(tree)


def _read(kind: type, content: Any, prefix: str) -> Any:
    """Reads a dataclass from a mapping; `prefix` is put before field names in messages."""
    if not isinstance(content, Mapping):
        group = prefix.removesuffix(".") or "the config"
        found = reprlib.repr(content)
        raise UserError(f"{group} is {found}, want a mapping of setting names to values")
    hints = get_type_hints(kind)
    for name in content:
        if name not in hints:
            close = difflib.get_close_matches(str(name), hints, 1)
            suggestion = f", did you mean {prefix + close[0]!r}?" if close else ""
            raise UserError(f"there is no setting {f'{prefix}{name}'!r}{suggestion}")
    values = {}
    for field in dataclasses.fields(kind):
        value, name = content.get(field.name), f"{prefix}{field.name}"
        if value is None:
            if field.default is dataclasses.MISSING:
                raise UserError(f"the config has no {name}")
        elif dataclasses.is_dataclass(hints[field.name]):
            values[field.name] = _read(hints[field.name], value, f"{name}.")
        else:
            values[field.name] = _convert(name, value, hints[field.name])
    return kind(**values)


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Returns the value of one setting as the type `kind`; lists from JSON become tuples."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:  # too long for a message
        raise UserError(
            f"{name} has {value.bit_length()} bits, want a number of at most {_MAX_BITS}"
        )
    if kind is float and _is_number(value):
        if not math.isfinite(value):
            raise UserError(f"{name} is {value}, want a finite number")
        return float(value)
    if (get_origin(kind) or kind) is tuple and isinstance(value, list | tuple):
        if not get_args(kind):
            return _to_tuples(value)
        element, _ = get_args(kind)
        return tuple(_convert(f"{name}[{i}]", x, element) for i, x in enumerate(value))
    if kind in (str, bool, int) and type(value) is kind:
        return value
    wanted = {float: "a number", int: "a whole number", str: "a string", bool: "True or False"}
    raise UserError(f"{name} is {reprlib.repr(value)}, want {wanted.get(kind, 'a tuple')}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_tuples(tree: Any) -> Any:
    return tuple(map(_to_tuples, tree)) if isinstance(tree, list | tuple) else tree


def check(settings: Settings) -> None:
    """Raises UserError for an unknown choice or a number out of range.

    Limits that depend on the encoder are checked where the network is built, limits that depend on
    the devices where training starts.
    """
    check_seed("seed", settings.seed)
    for name in (
        "num_steps",
        "log_every",
        "eval_every",
        "checkpoint_every",
        "max_skipped",
        "accumulate",
    ):
        _check_steps(name, getattr(settings, name), 1)
    _check_steps("steps_before", settings.steps_before, 0)
    check_at_least("num_seconds", settings.num_seconds, 0)
    check_at_least("figure_images", settings.figure_images, 0)
    for name in ("ageing", "frames", "ema"):
        check_share(name, getattr(settings, name))
    check_choice("objective", settings.objective, OBJECTIVES)
    check_choice("space", settings.space, tuple(SPACES))
    check_choice("regression.loss", settings.regression.loss, REGRESSION_LOSSES)
    if settings.regression.huber_m <= 0:  # 0 trains nothing, and less maximises the error
        raise UserError(
            f"regression.huber_m is {settings.regression.huber_m}, want a number above 0"
        )
    check_at_least("rebalance.sigma", settings.rebalance.sigma, 0)
    check_share("rebalance.uniform", settings.rebalance.uniform)
    _check_data(settings.data)
    if settings.data.scale_jitter and not settings.augment.crop:
        raise UserError(
            f"data.scale_jitter is {settings.data.scale_jitter} with augment.crop False, want 0"
        )
    _check_bins(settings.bins)
    _check_decoding(settings.decoding)
    if settings.decoding.vibrance and any(SPACES[settings.space].circular):
        raise UserError(
            f"decoding.vibrance is {settings.decoding.vibrance} with space {settings.space!r}, "
            "whose chroma is not a plane around gray, want 0"
        )
    _check_perception(settings)
    _check_model(settings.model)
    _check_optimizer(settings.optimizer)


def without_effect(settings: Settings) -> list[str]:
    """Returns a sentence for each changed setting that has no effect given the others."""
    model, options, start = settings.model, settings.decoding, settings.init_from
    regresses = settings.objective == "regression"
    other_encoder = model.encoder != "efficientnet-lite0"
    encoder, objective = f"model.encoder {model.encoder!r}", f"objective {settings.objective!r}"
    method = f"decoding.method {options.method!r}"
    averages = options.method in decoding.MEANS
    rebalanced = settings.rebalance.enabled
    names_weights = model.encoder_weights not in ("auto", "none")
    idle = (
        ("model.frozen_stages", other_encoder and model.frozen_stages > 0, encoder),
        ("model.train_depthwise", other_encoder and not model.train_depthwise, encoder),
        ("model.encoder_weights", start and names_weights, f"init_from {start}"),
        ("model.residual_units", regresses and not model.residual_units, objective),
        ("model.merge", regresses and model.merge != "concat", objective),
        ("bins.softness", regresses and settings.bins.softness > 0, objective),
        ("rebalance.enabled", regresses and rebalanced, objective),
        ("decoding.vibrance", regresses and options.vibrance > 0, objective),
        ("decoding.vibrance", options.vibrance > 0 and not averages, method),
        ("decoding.rebalance", not rebalanced and options.rebalance < 1, "rebalance.enabled False"),
    )
    return [f"{name} is without effect with {cause}" for name, is_idle, cause in idle if is_idle]


def check_seed(name: str, seed: int) -> None:
    """Raises UserError unless `seed`, the setting called `name`, is in [0, 2**32 - 1]."""
    check_at_least(name, seed, 0)
    if seed > MAX_SEED:
        raise UserError(f"{name} is {seed}, want at most {MAX_SEED}")


def _check_steps(name: str, count: int, least: int) -> None:
    check_at_least(name, count, least)
    if count > MAX_STEPS:
        raise UserError(f"{name} is {count}, want at most {MAX_STEPS}")


def _check_data(data: Data) -> None:
    check_at_least("data.load_size", data.load_size, 1)
    check_at_least("data.max_images", data.max_images, 0)
    check_at_least("data.statistics_images", data.statistics_images, 1)
    check_at_least("data.num_threads", data.num_threads, 1)
    check_share("data.max_unreadable", data.max_unreadable)
    check_at_least("data.min_chroma", data.min_chroma, 0)
    check_choice("data.fit", data.fit, FITS)
    check_share("data.test", data.test)
    if not 0 <= data.scale_jitter < 1:
        raise UserError(f"data.scale_jitter is {data.scale_jitter}, want a share below 1")
    for pair in data.weights:
        good = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
        if not good or not _is_number(pair[1]) or not 0 < pair[1] < math.inf:
            raise UserError(
                f"data.weights has {pair!r}, want pairs of a folder's name and a number above 0, "
                "such as (('scenes', 0.5),)"
            )


def _check_bins(bins: Bins) -> None:
    check_choice("bins.layout", bins.layout, BIN_LAYOUTS)
    check_choice("bins.value", bins.value, BIN_VALUES)
    check_at_least("bins.softness", bins.softness, 0)
    # The chroma plane is about 300 wide, and fewer than half of its squares contain a colour.
    check_at_least("bins.joint_width", bins.joint_width, 2.0)
    if not bins.low < bins.high or bins.num_bins < 1:
        raise UserError(
            f"bins are {bins.num_bins} on [{bins.low}, {bins.high}], "
            "want at least one, and bins.low below bins.high"
        )
    if bins.num_bins > MAX_BINS:
        raise UserError(f"bins.num_bins is {bins.num_bins}, want at most {MAX_BINS}")


def _check_decoding(options: Decoding) -> None:
    check_choice("decoding.method", options.method, decoding.METHODS)
    check_at_least("decoding.temperature", options.temperature, 1e-3)
    check_seed("decoding.seed", options.seed)
    check_share("decoding.rebalance", options.rebalance)
    check_at_least("decoding.vibrance", options.vibrance, 0)


def _check_perception(settings: Settings) -> None:
    for name in ("classes", "maps"):
        check_at_least(f"perception.{name}", getattr(settings.perception, name), 0)
    if settings.perception == Perception() or settings.objective == "regression":
        return
    if settings.decoding.method not in decoding.MEANS:
        raise UserError(
            f"decoding.method is {settings.decoding.method!r} with perception, but has no "
            "gradient, want mean or annealed"
        )


def _check_model(model: Model) -> None:
    check_choice("model.upscaling", model.upscaling, resample.METHODS)
    check_choice("model.dtype", model.dtype, DTYPES)
    check_at_least("model.width", model.width, 1 / 64)
    check_at_least("model.frozen_stages", model.frozen_stages, 0)
    for name in ("decoder_features", "final_features"):
        for depth in getattr(model, name):
            check_at_least(f"model.{name}", depth, 1)


def _check_optimizer(optimizer: Optimizer) -> None:
    check_choice("optimizer.name", optimizer.name, OPTIMIZERS)
    check_choice("optimizer.schedule", optimizer.schedule, SCHEDULES)
    _check_steps("optimizer.warmup_steps", optimizer.warmup_steps, 0)
    for name in ("learning_rate", "clip_norm", "weight_decay", "encoder_rate"):
        check_at_least(f"optimizer.{name}", getattr(optimizer, name), 0)
    for name in ("b1", "b2", "momentum"):
        if not 0 <= getattr(optimizer, name) < 1:
            value = getattr(optimizer, name)
            raise UserError(f"optimizer.{name} is {value}, want a share below 1")
