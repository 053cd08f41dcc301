"""Settings: accepted and rejected configs, and defaults for fields that are missing."""

import dataclasses
import json
import typing

import pytest

from colorjax import settings
from colorjax.errors import UserError
from colorjax.settings import as_dict, complete, override
from configs import classify, huber, learning_rate, overfit, petals, regress, release, reproduce

CONFIGS = (classify, huber, learning_rate, overfit, petals, regress, release, reproduce)
STUDIES = {"experiments", "decodings", "decoded", "pictured"}  # of configs/reproduce.py alone


def flatten(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def default_dict():
    return as_dict(complete(classify.get_config()))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_config_is_valid_and_survives_json(config):
    completed = complete(config.get_config())
    assert complete(json.loads(json.dumps(as_dict(completed)))) == completed
    assert complete(completed) is completed


def test_the_list_of_settings_for_users_is_complete():
    listed = dict(flatten(classify.get_config().to_dict()))
    assert listed.keys() == dict(flatten(default_dict())).keys() - STUDIES


def optional(kind, prefix=""):
    """Names of the fields that a config may lack."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            yield prefix + field.name
        elif dataclasses.is_dataclass(hints[field.name]):
            yield from optional(hints[field.name], f"{prefix}{field.name}.")


def remove(tree, name):
    *groups, last = name.split(".")
    for group in groups:
        tree = tree[group]
    del tree[last]


def test_a_config_of_an_older_version_may_lack_later_settings():
    config = default_dict()
    for name in optional(settings.Settings):
        remove(config, name)
    older = complete(config)
    assert older.model.encoder == "vgg16" and older.decoding == settings.ARGMAX
    assert (older.ema, older.objective, older.space) == (0.0, "classification", "luv")


@pytest.mark.parametrize("name", ["seed", "model", "data.source", "optimizer.b1"])
def test_a_missing_required_setting_is_named(name):
    config = default_dict()
    remove(config, name)
    with pytest.raises(UserError, match=f"the config has no {name}$"):
        complete(config)


@pytest.mark.parametrize("config", [None, [], "classify", 3, {"data": 3}])
def test_a_value_that_is_no_config_is_refused(config):
    with pytest.raises(UserError, match="want a mapping of setting names|the config has no"):
        complete(config)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"seed": 2**70}, "seed is .*, want at most 4294967295"),
        ({"seed": -1}, "seed is -1, want at least 0"),
        ({"num_steps": 2.5}, "num_steps is 2.5, want a whole number"),
        ({"num_steps": True}, "num_steps is True, want a whole number"),
        ({"data.source": 3}, "data.source is 3, want a string"),
        ({"data.resident": 1}, "data.resident is 1, want True or False"),
        ({"optimizer.learning_rate": "fast"}, "optimizer.learning_rate is 'fast', want a number"),
        ({"optimizer.learning_rate": float("nan")}, "learning_rate is nan, want a finite number"),
        ({"optimizer.b2": 1.0}, "optimizer.b2 is 1.0, want a share below 1"),
        ({"model.decoder_features": 64}, "model.decoder_features is 64, want a tuple"),
        ({"model.decoder_features": (64, "a")}, r"decoder_features\[1\] is 'a', want a whole"),
        ({"model.final_features": (0,)}, "model.final_features is 0, want at least 1"),
        ({"bins.num_bins": 10**9}, "bins.num_bins is 1000000000, want at most 10000"),
        ({"bins.joint_width": 1.0}, "bins.joint_width is 1.0, want at least 2.0"),
        ({"regression.huber_m": 0}, "regression.huber_m is 0.0, want a number above 0"),
        ({"regression.huber_m": -1.0}, "regression.huber_m is -1.0, want a number above 0"),
        ({"data.min_chroma": -1.0}, "data.min_chroma is -1.0, want at least 0"),
        ({"num_steps": 2**31}, "num_steps is 2147483648, want at most 2147483647"),
        ({"optimizer.warmup_steps": 2**31}, "warmup_steps is 2147483648, want at most 2147483647"),
        ({"num_seconds": 10**400}, "num_seconds has 1329 bits, want a number of at most 128"),
        ({"num_steps": 10**5000}, "num_steps has 16610 bits, want a number of at most 128"),
        ({"data.sauce": "sample"}, "no setting 'data.sauce', did you mean 'data.source'"),
        ({"sauce.data": "sample"}, "no setting 'sauce.data'"),
    ],
)
def test_a_setting_of_another_type_or_out_of_its_range_is_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        override(complete(classify.get_config()), changes)


def test_integers_and_lists_are_accepted_as_floats_and_tuples():
    completed = override(
        complete(classify.get_config()),
        {"model.width": 1, "model.final_features": [8, 4], "sweep": [["seed", [0, 1]]]},
    )
    assert isinstance(completed.model.width, float) and completed.model.final_features == (8, 4)
    assert completed.sweep == (("seed", (0, 1)),)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"decoding.vibrance": 5.0}, "decoding.vibrance is without effect with decoding.method"),
        ({"decoding.rebalance": 0.2}, "decoding.rebalance is without effect with rebalance"),
        ({"model.frozen_stages": 3}, "model.frozen_stages is without effect with model.encoder"),
        ({"model.train_depthwise": False}, "model.train_depthwise is without effect with model"),
        (
            {"objective": "regression", "model.merge": "sum"},
            "model.merge is without effect with objective 'regression'",
        ),
        (
            {"init_from": "release", "model.encoder_weights": "a.h5"},
            "model.encoder_weights is without effect with init_from release",
        ),
    ],
)
def test_a_setting_that_has_no_effect_is_reported(changes, sentence):
    (message,) = settings.without_effect(override(complete(classify.get_config()), changes))
    assert message.startswith(sentence)


@pytest.mark.parametrize("choice", ["classify", "classify,seen", "gpu", "regress"])
def test_the_recipe_of_the_release_has_no_setting_without_effect(choice):
    assert settings.without_effect(complete(release.get_config(choice))) == []


def test_the_defaults_have_no_setting_without_effect():
    for config in (classify, regress):
        assert settings.without_effect(complete(config.get_config())) == []
