"""Weights of the reference implementations, loaded into our modules, give the recorded outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core import TaskShape, convert
from s4core.models import sashimi
from s4core.nn.block import Block
from s4core.nn.stack import Stack
from s4core.nn.systems import SystemOptions, make_layer

GOLDEN = Path(__file__).parents[1] / "golden"
BARE = {"norm": "none", "residual": "none", "prenorm": False}


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {k: file[k] for k in file.files}
    state = {k[3:]: v for k, v in arrays.items() if k.startswith("sd.")}
    values = {
        k: torch.tensor(v) for k, v in arrays.items() if "." not in k and v.dtype.kind in "fic"
    }
    config = json.loads(str(arrays["config"])) if "config" in arrays else {}
    return values, state, config


def steps_of(module, x):
    state, outputs = module.initial_state(x.shape[0]), []
    for x_t in x.unbind(1):
        y, state = module.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def s4_block(**fields):
    options = SystemOptions(d_model=4, d_state=8, **BARE, **fields)
    return Block(make_layer(options, 4, 20), options, d_model=4, index=1).double().eval()


def assert_close(ours, theirs, tolerance=1e-9):
    assert (ours - theirs).abs().max() < tolerance * theirs.abs().max()


@pytest.mark.parametrize("tuned", [False, True])
def test_a_standalone_s4_block_before_and_after_its_first_forward(tuned):
    values, state, _ = load("s4block_dplr")
    if tuned:
        with np.load(GOLDEN / "s4block_dplr.npz") as file:
            after = {k: file[k] for k in file.files if k.startswith("sd_after_first_forward.")}
        state |= {k.split(".", 1)[1]: v for k, v in after.items()}
        assert int(state["layer.kernel.l_kernel"]) == 20
    block = s4_block()
    convert.load_s4_block(block, state)
    assert_close(block(values["x"]), values["y"])
    assert_close(steps_of(block, values["x"]), values["y_step"])
    assert_close(block(values["x"], values["lengths"]), values["y_lengths"])


def test_a_block_tuned_to_another_length_is_tuned_anew():
    values, state, _ = load("s4block_dplr")
    with np.load(GOLDEN / "s4block_dplr.npz") as file:
        after = {k: file[k] for k in file.files if k.startswith("sd_after_first_forward.")}
    state |= {k.split(".", 1)[1]: v for k, v in after.items()}
    options = SystemOptions(d_model=4, d_state=8, **BARE)
    block = Block(make_layer(options, 4, 31), options, d_model=4, index=1).double().eval()
    convert.load_s4_block(block, state)
    assert_close(block(values["x"]), values["y"])


def test_the_minimal_s4d_layer():
    values, state, _ = load("s4d_minimal")
    block = s4_block(structure="diagonal", init="lin")
    convert.load_s4d_layer(block, state)
    assert_close(block(values["x"].transpose(1, 2)).transpose(1, 2), values["y"])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("seqmodel_prenorm_layer_dplr", {}),
        (
            "seqmodel_postnorm_batch_eval_bidir",
            {"prenorm": False, "norm": "batch", "bidirectional": True},
        ),
    ],
)
def test_an_isotropic_backbone(name, fields):
    values, state, _ = load(name)
    options = SystemOptions(d_model=6, n_layers=2, d_state=8, dt_transform="softplus", **fields)
    stack = Stack(options, l_max=20, make_mixer=lambda d, length: make_layer(options, d, length))
    convert.load_s4_backbone(stack.double().eval(), state)
    assert_close(stack(values["x"]), values["y"])
    if "y_step" in values:
        assert_close(steps_of(stack, values["x"]), values["y_step"])


@pytest.mark.parametrize(
    ("name", "norm"), [("sashimi_standalone", "layer"), ("sashimi_src", "scalar")]
)
def test_sashimi_with_its_steps(name, norm):
    values, state, _ = load(name)
    config = sashimi.Config(d_model=6, n_layers=1, d_state=8, pool=(2, 2), ff=2, norm=norm)
    unet = sashimi.build(config, TaskShape(d_input=6, d_output=2, length=32)).backbone
    convert.load_s4_backbone(unet.double().eval(), state)
    assert_close(unet(values["x"]), values["y"])
    assert_close(steps_of(unet, values["x"]), values["y_step"])


def test_float32_outputs_agree_to_1e_6():
    values, state, _ = load("seqmodel_prenorm_layer_dplr")
    options = SystemOptions(d_model=6, n_layers=2, d_state=8, dt_transform="softplus")
    stack = Stack(options, l_max=20, make_mixer=lambda d, length: make_layer(options, d, length))
    convert.load_s4_backbone(stack.eval(), state)
    assert_close(stack(values["x"].float()), values["y"], 1e-6)


def test_weights_that_do_not_fit_are_named():
    _, state, _ = load("s4block_dplr")
    with pytest.raises(convert.ConversionError, match="no 'layer.D'"):
        convert.load_s4_block(s4_block(), {k: v for k, v in state.items() if k != "layer.D"})
    with pytest.raises(convert.ConversionError, match="1 foreign weights have no place.*: extra"):
        convert.load_s4_block(s4_block(), {**state, "extra": np.zeros(1)})
    with pytest.raises(convert.ConversionError, match=r"layer.D is \(1, 4\).* wants \(2, 4\)"):
        convert.load_s4_block(s4_block(channels=2), state)
    with pytest.raises(convert.ConversionError, match="this model 16: check n_layers"):
        config = sashimi.Config(d_model=6, n_layers=2, d_state=8, pool=(2, 2))
        unet = sashimi.build(config, TaskShape(d_input=6, d_output=2, length=32)).backbone
        convert.load_s4_backbone(unet, load("sashimi_standalone")[1])
