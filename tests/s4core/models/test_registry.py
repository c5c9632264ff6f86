"""The folder of models is the registry; a wrong block says what is right."""

import sys
import types

import pytest
from torch import nn

import s4core
from s4core import ConfigError, TaskShape
from s4core.config import config

SHAPE = TaskShape(d_input=2, d_output=3, length=8)


def test_every_model_has_a_config_with_defaults_that_round_trips():
    for name in s4core.model_names():
        made = s4core.model_config({"name": name})
        block = s4core.model_mapping(made)
        assert block["name"] == name
        assert s4core.model_config(block) == made


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({}, "model.name: needs the name of a model: choose from "),
        ({"name": "s4dd"}, "Did you mean 's4d'?"),
        ({"name": 3}, "model.name: wants the name of a model, got 3."),
        ({"name": "s4d", "d_modle": 3}, "model.d_modle: unknown key 'd_modle'"),
        ({"name": "s4d", "d_model": "3"}, "model.d_model: wants a whole number, got '3'"),
        ({"name": "s4d", "norm": "lyer"}, "Did you mean 'layer'?"),
        ({"name": "s4d", "d_model": 0}, "model: need d_model >= 1, got 0."),
        ({"name": "s4d", "dropout": 1.0}, "model: need 0 <= dropout < 1, got 1.0."),
        ({"name": "s4d", "d_state": 7}, "need an even d_state >= 2, got 7."),
        ({"name": "s4d", "dt_min": 0.0}, "model: need 0 < dt_min <= dt_max"),
        ({"name": "s4d", "dt_min": 0.2}, "model: need 0 < dt_min <= dt_max"),
        ({"name": "s4d", "n_layers": 0}, "model: need n_layers >= 1, got 0."),
        ({"name": "s4d", "channels": 0}, "model: need channels >= 1, got 0."),
        ({"name": "s4d", "norm_eps": 0.0}, "model: need norm_eps > 0, got 0.0."),
        ({"name": "s4d", "norm_momentum": 0.0}, "need 0 < norm_momentum <= 1, got 0.0."),
        ({"name": "s4d", "mode": "scan", "bidirectional": True}, "it needs bidirectional false"),
        ({"name": "s4d", "mode": "scan", "sobolev": 0.5}, "got False, 0.5 and 0.0."),
        ({"name": "s4d", "mode": "scan", "kernel_dropout": 0.5}, "got False, 0.0 and 0.5."),
        ({"name": "s4", "bandlimit": 0.0}, "model: need bandlimit > 0 (or null), got 0.0."),
        ({"name": "lssl", "kernel_dropout": 1.0}, "model: need 0 <= kernel_dropout < 1, got 1.0."),
        ({"name": "s4nd", "kernel_dropout": 0.1}, "got sobolev=0.0, kernel_dropout=0.1."),
        ({"name": "liquid_s4", "kernel_dropout": 0.1}, "leaves its kernel as it is: got"),
        ({"name": "s5", "final_act": "none", "weight_norm": True}, "it needs weight_norm false."),
        ({"name": "s4d", "pool_expand": 2}, "need a block_pool for pool_expand 2"),
        ({"name": "s4d", "gates": "gss", "d_model": 6}, "d_model divisible by bottleneck, got 6"),
        ({"name": "no.such.module"}, "model.name: no module 'no.such.module' to import"),
        ({"name": "os.path"}, "the module 'os.path' needs the two names Config and build."),
    ],
)
def test_a_block_that_cannot_be_is_refused_with_its_path_and_the_way_out(block, text):
    with pytest.raises(ConfigError) as error:
        s4core.model_config(block)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("block", "shape", "text"),
    [
        ({"n_ssm": 3, "d_model": 8}, {}, "n_ssm must divide the features"),
        ({"encoder": "embedding"}, {}, "encoder 'embedding' does not take the floats"),
        ({"encoder": "linear"}, {"tokens": True}, "encoder 'linear' does not take the tokens"),
        ({"encoder": "identity"}, {}, "encoder 'identity' needs d_model = 2, got 64."),
        ({"final_act": "none", "channels": 2}, {}, "choose glu or linear."),
        ({"gates": "h3", "channels": 2}, {}, "gates h3 needs channels 1, got 2."),
        ({"block_pool": "avg", "n_layers": 1}, {"target": "step_class"}, "set block_pool to none."),
        (
            {"block_pool": "spectral"},
            {"ragged": True},
            "block_pool 'spectral' looks at whole sequences",
        ),
        ({}, {"axes": (2, 3)}, "need axes whose product is length 8, got (2, 3)."),
        ({"name": "liquid_s4", "liquid": "pb", "block_pool": "avg"}, {}, "5 steps, got 4."),
        ({}, {"irregular": True}, "set irregular to append or ignore, or take s5."),
        ({}, {"target": "step_class", "pairs": True}, "one answer a pair"),
    ],
)
def test_a_model_that_cannot_be_for_its_task_is_refused(block, shape, text):
    task = {"d_input": 2, "d_output": 3, "length": 8, **shape}
    with pytest.raises(ConfigError) as error:
        s4core.build({"name": "s4d", **block}, task)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"name": "s4", "init": "legt"}, "init 'legt' needs rank >= 2, got 1."),
        ({"name": "s4", "rank": 0}, "need rank >= 1, got 0."),
        ({"name": "sashimi", "init": "legt"}, "init 'legt' needs rank >= 2, got 1."),
        ({"name": "dss", "n_ssm": 3, "d_model": 8}, "n_ssm must divide the features of a layer"),
        ({"name": "s4d", "init": "all", "n_ssm": 2}, "init 'all' mixes 4 systems"),
        ({"name": "s4d", "gates": "h3", "channels": 2}, "gates h3 needs channels 1, got 2."),
        ({"name": "s4d", "final_act": "none", "channels": 2}, "choose glu or linear."),
        ({"name": "s5", "gates": "gss"}, "gate 4 makes them more: choose glu or linear."),
        ({"name": "ssd", "d_model": 6}, "need expand * d_model divisible by d_head"),
        ({"name": "sashimi", "interp": 1}, "need interp to be 0 or a power of two >= 2, got 1."),
        ({"name": "s4d", "dt_max": float("inf")}, "model.dt_max: wants a finite number, got inf."),
    ],
)
def test_what_can_be_for_no_task_is_refused_before_there_is_one(block, text):
    """`s4sweep check` looks at settings, where a trial would build the model."""
    with pytest.raises(ConfigError) as error:
        s4core.model_config(block)
    assert text in str(error.value)


@pytest.mark.parametrize("name", ["s4d", "dss", "s4nd"])
def test_a_system_without_low_rank_term_asks_for_no_rank(name):
    block = {"name": name, "init": "legt", "d_model": 4, "d_state": 4}
    block |= {"structure": "diagonal"} if name == "s4nd" else {}
    s4core.build(block, SHAPE)


def test_a_model_outside_of_the_package_is_named_with_dots(monkeypatch):
    module = types.ModuleType("my_lab_models.foo")

    @config
    class Config:
        width: int = 3

    Config.__module__ = module.__name__
    module.Config = Config
    module.build = lambda config, shape: nn.Linear(shape.d_input, config.width)
    monkeypatch.setitem(sys.modules, "my_lab_models", types.ModuleType("my_lab_models"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    model = s4core.build({"name": "my_lab_models.foo", "width": 5}, SHAPE)
    assert model.weight.shape == (5, 2)
    made = s4core.model_config({"name": "my_lab_models.foo"})
    assert s4core.model_mapping(made) == {"name": "my_lab_models.foo", "width": 3}
