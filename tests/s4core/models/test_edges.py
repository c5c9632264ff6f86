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
