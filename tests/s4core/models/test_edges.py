"""No model gives NaN: steps that vanish or explode, odd sizes, one step, nothing, constants."""

import contextlib
import dataclasses

import pytest
import torch

import s4core
from s4core import TaskShape

SHAPE = TaskShape(d_input=3, d_output=5, length=19, ragged=True)


def make(name, **fields):
    torch.manual_seed(0)
    known = {f.name for f in dataclasses.fields(s4core.model_config({"name": name}))}
    wanted = {"d_model": 6, "n_layers": 2, "d_state": 6, "blocks": 1, "d_head": 4, **fields}
    return s4core.build(
        {"name": name, **{k: v for k, v in wanted.items() if k in known}}, SHAPE
    ).train()


def precision(half):
    return torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()


def passes(model, x, lengths=None):
    model.zero_grad()
    y = model(x, lengths)
    assert y.isfinite().all()
    y.float().square().mean().backward() if len(y) else y.float().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("norm", ["layer", "batch", "scalar"])
@pytest.mark.parametrize("name", s4core.model_names())
def test_no_shape_and_no_constant_gives_nan(name, norm, half):
    model = make(name, norm=norm)
    constant = torch.full((2, 19, 3), 0.7)
    with precision(half):
        for x in (constant, 0.0 * constant, constant[:1, :1], constant[:0], 1e4 * constant):
            passes(model, x)
        passes(model, constant, torch.tensor([0, 1]))


@pytest.mark.parametrize("init", ["fourier", "fourier2", "fourier_decay", "hippo", "all"])
@pytest.mark.parametrize("name", ["dss", "s4", "s4d"])
def test_a_mode_that_does_not_decay_is_given_a_little_decay(name, init):
    """Fourier systems have one with A = 0, which no transform keeps away from it."""
    fields = {"d_model": 8, "d_state": 8, "init": init, "real_transform": "none"}
    model = make(name, **fields)
    x = torch.randn(2, 19, 3)
    passes(model, x)
    exact = make(name, **fields).double()
    exact.load_state_dict(model.state_dict())
    y = exact.eval()(x.double())
    assert (model.eval()(x) - y).abs().max() < 1e-4 * y.abs().max()


@pytest.mark.parametrize("name", ["s4d", "s4"])
def test_a_relu_does_not_begin_where_it_has_no_gradient(name):
    model = make(name, init="fout", real_transform="relu", d_state=8)
    model(torch.randn(2, 19, 3)).square().sum().backward()
    for key, parameter in model.named_parameters():
        if key.endswith("A_real"):
            assert (parameter.grad != 0).all(), key


@pytest.mark.parametrize(
    ("name", "fields"), [("s4", {}), ("s4d", {"mode": "scan"}), ("s5", {}), ("liquid_s4", {})]
)
def test_the_backward_may_run_inside_of_autocast(name, fields):
    model, x = make(name, **fields), torch.randn(2, 11, 3)
    with torch.autocast("cpu", torch.bfloat16):
        passes(model, x)


def test_a_fixed_system_first_used_in_inference_mode_still_trains():
    model, x = make("lssl", learn="fixed"), torch.randn(2, 19, 3)
    with torch.inference_mode():
        model(x)
    passes(model, x)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("raw", [-200.0, -30.0, 30.0, 200.0])
@pytest.mark.parametrize("name", s4core.model_names())
def test_a_step_that_trained_to_nothing_or_to_infinity_gives_no_nan(name, raw, half):
    """Whatever sets a model's time scale; the published code meets 0 / 0 when dt underflows."""
    model = make(name)
    scales = [
        p
        for key, p in model.named_parameters()
        if key.rpartition(".")[2] in ("dt", "delta", "dt_bias", "nu")
    ]
    if name != "conv":
        assert scales
    with torch.no_grad():
        for parameter in scales:
            parameter.fill_(raw)
    with precision(half):
        passes(model, torch.randn(2, 19, 3, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("block_pool", ["none", "avg"])
@pytest.mark.parametrize("pooling", ["mean", "last", "first", "sum"])
def test_a_sequence_of_no_steps_is_not_answered_from_its_padding(pooling, block_pool):
    """Nor is one that is too short for the pools between the blocks."""
    model = make("s4d", pooling=pooling, block_pool=block_pool).eval()
    x, lengths = torch.randn(2, 19, 3), torch.tensor([0, 1])
    other = x.clone()
    other[0], other[1, 1:] = 17.0, 17.0
    torch.testing.assert_close(model(x, lengths), model(other, lengths))


@pytest.mark.parametrize("name", [n for n in s4core.model_names() if n != "s4nd"])
def test_a_state_of_another_batch_is_refused(name):
    model = make(name)
    state = model.initial_state(1)
    with pytest.raises(ValueError, match="the state is one of 1 sequences, but x has 2"):
        model.step(torch.zeros(2, 3), state)
    with pytest.raises(ValueError, match="the state is one of 1 sequences, but x has 2"):
        model.forward_with_state(torch.zeros(2, 4, 3), state)


@pytest.mark.parametrize("name", s4core.model_names())
def test_weights_in_half_precision_are_refused(name):
    model = make(name).bfloat16().eval()
    with pytest.raises(ValueError, match=r"the weights are torch.bfloat16.*autocast"):
        model(torch.zeros(2, 19, 3, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"the weights are torch.bfloat16.*autocast"):
        model.initial_state(2)
