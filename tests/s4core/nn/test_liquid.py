"""Liquid layers as models: causal ones step, published ones keep their numbers."""

import copy

import pytest
import torch

from s4core import ConfigError, TaskShape, build
from s4core.nn import liquid

SHAPE = TaskShape(d_input=2, d_output=3, length=20)
BLOCK = {"name": "liquid_s4", "d_model": 4, "n_layers": 2, "d_state": 4}


def make(**fields):
    torch.manual_seed(0)
    return build({**BLOCK, **fields}, SHAPE).double().eval()


def steps_of(model, x):
    state = model.initial_state(x.shape[0])
    for x_t in x.unbind(1):
        y, state = model.step(x_t, state)
    return y


@pytest.mark.parametrize("structure", ["diagonal", "dplr"])
@pytest.mark.parametrize(
    "fields",
    [{"liquid": "exact"}, {"liquid_degree": 4}, {"liquid": "causal_pb", "liquid_degree": 3}],
)
def test_causal_forms_step_and_continue(fields, structure, monkeypatch):
    model, x = make(**fields, structure=structure), torch.randn(3, 20, 2, dtype=torch.float64)
    y = model(x)
    assert (steps_of(model, x) - y).abs().max() < 1e-10
    state = model.initial_state(3)
    for piece in x.split([3, 17], 1):
        pieced, state = model.forward_with_state(piece, state)
    assert (pieced - y).abs().max() < 1e-10
    (expected,) = torch.autograd.grad(y.square().sum(), model.encoder.linear.weight)
    monkeypatch.setattr(liquid, "PIECE", 1)
    y = model(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), model.encoder.linear.weight)
    assert (gradient - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize("form", ["pb", "kb"])
@pytest.mark.parametrize("structure", ["diagonal", "dplr"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_published_forms_see_the_future_and_survive_a_reload(form, structure, bidirectional):
    fields = {"liquid": form, "structure": structure, "bidirectional": bidirectional}
    model, x = make(**fields), torch.randn(2, 20, 2, dtype=torch.float64)
    y = model(x)
    assert y.isfinite().all()
    torch.manual_seed(1)
    other = build({**BLOCK, **fields}, SHAPE).double().eval()
    assert not torch.allclose(other(x), y)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), y)
    with pytest.raises(ValueError, match="see the future"):
        model.initial_state(1)
    linear = make(structure=structure, liquid=form, bidirectional=bidirectional)
    for block in linear.backbone.blocks:
        block.mixer.b.zero_()
    assert not torch.allclose(linear(x), y)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"liquid_degree": 1}, "need liquid_degree >= 2, got 1"),
        ({"discretize": "zoh"}, "liquid_s4 is bilinear"),
        ({"channels": 2}, "one channel and leaves its kernel"),
        ({"bidirectional": True}, "is causal: it needs bidirectional false"),
        ({"liquid": "pb", "liquid_degree": 18}, "at least 21 steps, got 20"),
    ],
)
def test_what_cannot_be_is_refused(fields, text):
    with pytest.raises(ConfigError) as error:
        make(**fields)
    assert text in str(error.value)


@pytest.mark.parametrize("liquid", ["truncated", "exact", "causal_pb"])
def test_without_a_low_rank_term_both_structures_are_one_system(liquid):
    """`init: lin` has P = 0, so dplr computes what diagonal does, by other ways."""
    fields = {"liquid": liquid, "liquid_degree": 3, "init": "lin", "n_layers": 1}
    diagonal, dplr = make(**fields), make(**fields, structure="dplr")
    dplr.load_state_dict(diagonal.state_dict(), strict=False)
    ours, theirs = (
        getattr(m.backbone.blocks[0].mixer, "layer", m.backbone.blocks[0].mixer)
        for m in (diagonal, dplr)
    )
    system = "ssm" if liquid == "causal_pb" else "system"
    C = torch.view_as_complex(getattr(ours, system).C)
    getattr(theirs, system).store_readout(C)
    x = torch.randn(2, 20, 2, dtype=torch.float64)
    assert (dplr(x) - diagonal(x)).abs().max() < 1e-9 * diagonal(x).abs().max()


@pytest.mark.parametrize("structure", ["diagonal", "dplr"])
def test_a_model_with_published_terms_can_be_copied(structure):
    """As averaged weights are."""
    block = {"name": "liquid_s4", "liquid": "pb", "structure": structure, "d_model": 4}
    model = build(block, TaskShape(d_input=1, d_output=2, length=12)).eval()
    x = torch.randn(2, 12, 1)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
