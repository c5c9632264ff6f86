"""Every option of a block: its modes agree, its dropout follows the documented rule."""

import dataclasses
import typing

import pytest
import torch
import torch.nn.functional as F

import s4core
from s4core import TaskShape
from s4core.nn import layout
from s4core.nn.activation import ACTIVATIONS, FinalName, Output
from s4core.nn.block import Block
from s4core.nn.feed_forward import Pointwise
from s4core.nn.options import StackOptions
from s4core.nn.residual import Residual, ResidualName

SHAPE = TaskShape(d_input=3, d_output=5, length=20)


def modes_agree(model, x):
    y, state = model(x), model.initial_state(x.shape[0])
    for x_t in x.unbind(1):
        stepped, state = model.step(x_t, state)
    assert (stepped - y).abs().max() < 1e-9
    state = model.initial_state(x.shape[0])
    for piece in x.split([9, 1, 10], 1):
        pieced, state = model.forward_with_state(piece, state)
    assert (pieced - y).abs().max() < 1e-9


@pytest.mark.parametrize(
    "fields",
    [
        {"prenorm": False, "norm": "batch"},
        {"double_norm": True, "norm": "scalar"},
        {"final_norm": False, "norm": "none"},
        {"norm": "rms", "residual": "highway"},
        {"residual": "affine", "final_act": "linear"},
        {"residual": "decay", "final_act": "half_glu1"},
        {"residual": "none", "final_act": "half_glu2", "norm": "batch"},
        {"final_act": "none", "activation": "silu"},
        {"activation": "modrelu", "channels": 2},
        {"final_act": "geglu", "norm": "batch"},
        {"final_act": "swiglu", "channels": 2},
        {"final_act": "reglu"},
        {"channels": 3, "ff": 2},
        {"gates": "gss", "activation": "none", "final_act": "linear"},
        {"gates": "gss", "gate_act": "sigmoid"},
        {"gates": "h3", "shift_taps": 3},
        {"weight_norm": True, "prenorm": False},
        {"position": "sinusoid"},
        {"position": "learned", "pooling": "last"},
        {"block_pool": "avg", "pooling": "last"},
        {"block_pool": "max", "pool_stride": 3, "pooling": "sum"},
        {"block_pool": "sample", "pool_every": 2},
        {"block_pool": "linear", "pool_expand": 2, "n_layers": 3},
        {"block_pool": "avg", "pool_expand": 2},
    ],
    ids=lambda fields: "-".join(f"{k}={v}" for k, v in fields.items()),
)
def test_convolution_step_and_pieces_agree_for_every_option(fields):
    torch.manual_seed(0)
    block = {"name": "s4d", "d_model": 8, "n_layers": 2, "d_state": 4, **fields}
    model = s4core.build(block, SHAPE).double().train()
    x = torch.randn(3, 20, 3, dtype=torch.float64)
    model(x)  # gives batch norm its statistics
    modes_agree(model.eval(), x)


def test_weight_norm_starts_as_the_plain_map_and_learns_size_and_direction_apart():
    torch.manual_seed(0)
    plain = Output(6, 4)
    torch.manual_seed(0)
    normed = Output(6, 4, weight_norm=True)
    y = torch.randn(6, 2, 9)
    torch.testing.assert_close(normed(y), plain(y))
    size, direction = (getattr(normed.linear.parametrizations.weight, f"original{i}") for i in "01")
    with torch.no_grad():
        direction *= 3.0
    torch.testing.assert_close(normed(y), plain(y))
    with torch.no_grad():
        size *= 2.0
        plain.linear.weight *= 2.0
    torch.testing.assert_close(normed(y), plain(y))


def test_a_map_with_weight_norm_starts_as_flax_does_where_that_is_published():
    torch.manual_seed(0)
    block = {"name": "s5", "d_model": 64, "n_layers": 1, "weight_norm": True}
    weight = s4core.build(block, SHAPE).backbone.blocks[0].output.linear.weight
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.05)


def test_a_step_beyond_the_positions_is_refused_like_a_longer_sequence():
    model = s4core.build({"name": "s4d", "d_model": 8, "position": "learned"}, SHAPE)
    state = model.initial_state(1)
    for _ in range(20):
        _, state = model.step(torch.zeros(1, 3), state)
    with pytest.raises(ValueError, match="cannot go on to step 21"):
        model.step(torch.zeros(1, 3), state)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_maps_floats_to_finite_floats(activation):
    x = torch.linspace(-30, 30, 61)
    assert ACTIVATIONS[activation](x).isfinite().all()


def test_modrelu_shrinks_towards_zero_by_a_learned_bias():
    """Source: arXiv:1511.06464, eq. (8); near the identity at first, as published."""
    torch.manual_seed(0)
    output = Output(3, 3, activation="modrelu", final_act="none")
    y = torch.tensor([[-2.0, 0.5, 0.001], [1.0, -0.5, 3.0]])
    assert (output.step(y) - y).abs().max() <= 0.01
    with torch.no_grad():
        output.bias.copy_(torch.tensor([-1.5, 0.25, -4.0]))
    expected = torch.tensor([[-0.5, 0.75, 0.0], [0.0, -0.75, 0.0]])
    torch.testing.assert_close(output.step(y), expected)
    torch.testing.assert_close(output(y.t()[:, :, None]), expected.t()[:, :, None])


def masks(options):
    """Run one pointwise block with everything visible; return (branch, its inner mask's zeros)."""
    torch.manual_seed(0)
    d_model = 64
    options = dataclasses.replace(options, norm="none", activation="none", final_act="none")
    block = Block(Pointwise(d_model, 1), options, d_model=d_model, index=1).train()
    with torch.no_grad():
        block.mixer.linear.weight.copy_(torch.eye(d_model))
        block.mixer.linear.bias.zero_()
    x = torch.ones(8, 32, d_model)
    return block(x) - x


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("standard", 0.75**2), ("inner", 0.75), ("branch", 0.75), ("s4_head", 0.75**3)],
)
def test_the_rule_of_dropout_says_how_many_masks_there_are(rule, kept):
    branch = masks(StackOptions(dropout=0.25, dropout_rule=rule))
    # 16384 entries, of which 512 independent for tied masks: three standard errors.
    assert abs((branch != 0).float().mean() - kept) < 0.07
    assert abs(branch.mean() - 1.0) < 0.12


def test_a_tied_mask_is_one_for_all_steps_and_an_untied_one_is_not():
    tied = masks(StackOptions(dropout=0.5))
    assert torch.equal(tied, tied[:, :1].expand_as(tied))
    untied = masks(StackOptions(dropout=0.5, tie_dropout=False))
    assert not torch.equal(untied, untied[:, :1].expand_as(untied))


@pytest.mark.parametrize("final_act", ["glu", "linear"])
def test_the_last_block_leaves_out_whole_sequences_and_the_first_none(final_act):
    torch.manual_seed(0)
    fields = {"prenorm": False, "norm": "none", "final_norm": False, "dropout": 0.0}
    options = StackOptions(d_model=4, n_layers=3, drop_path=0.5, final_act=final_act, **fields)
    x, kept = torch.randn(2000, 3, 4), []
    for index in (1, 2, 3):
        block = Block(Pointwise(4, 1), options, d_model=4, index=index)
        whole, some = block.eval()(x) - x, block.train()(x) - x
        scale = some.norm(dim=(1, 2)) / whole.norm(dim=(1, 2))
        assert torch.allclose(some, whole * scale[:, None, None], atol=1e-5)
        kept.append((scale > 0.5).float().mean().item())
        assert abs(scale.mean() - 1.0) < 0.1
    assert kept == pytest.approx([1.0, 0.75, 0.5], abs=0.04)


def test_residuals_have_their_formulas():
    torch.manual_seed(0)
    x, y = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    decay = Residual("decay", 4, 4)
    assert torch.allclose(decay(x, y), 0.75**0.5 * x + 0.5 * y)
    highway = Residual("highway", 4, 1)
    wx, wy = layout.linear(highway.from_x, x), layout.linear(highway.from_y, y)
    r = torch.sigmoid(wx + wy)
    assert torch.allclose(highway(x, y), (1 - r) * x + r * wy, atol=1e-6)
    assert torch.equal(Residual("none", 4, 1)(x, y), y)
    assert torch.equal(Residual("affine", 4, 1)(x, y), x + y)


@pytest.mark.parametrize("final_act", typing.get_args(FinalName))
def test_final_activations_have_their_formulas(final_act):
    torch.manual_seed(0)
    y = torch.randn(4, 2, 3, dtype=torch.float64)
    output = Output(4, 4, activation="tanh", final_act=final_act).double()
    g = torch.tanh(y)
    W = g if output.linear is None else layout.linear(output.linear, g)
    halves = {"glu": torch.sigmoid, "geglu": F.gelu, "reglu": F.relu, "swiglu": F.silu}
    if final_act in halves:
        expected = W[:4] * halves[final_act](W[4:])
    else:
        half = {"half_glu1": g * torch.sigmoid(W), "half_glu2": y * torch.sigmoid(W)}
        expected = half.get(final_act, W)
    assert (output(y) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("kind", typing.get_args(ResidualName))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_residuals_join_what_autocast_left_in_different_precisions(kind, dtype):
    torch.manual_seed(0)
    join, x, y = Residual(kind, 4, 2), torch.randn(4, 2, 3, dtype=dtype), torch.randn(4, 2, 3)
    exact = join(x.float(), y)
    with torch.autocast("cpu", torch.bfloat16):
        z = join(x, y.bfloat16())
    assert (z.float() - exact).abs().max() < 0.03 * exact.abs().max()


def test_layout_functions_equal_their_plain_forms():
    torch.manual_seed(0)
    x, linear = torch.randn(2, 5, 3), torch.nn.Linear(3, 4)
    assert torch.allclose(layout.h_last(layout.linear(linear, layout.h_first(x))), linear(x))
    masked = layout.mask_steps(layout.h_first(x), torch.tensor([5, 2]))
    assert torch.equal(layout.h_last(masked)[0], x[0])
    assert layout.h_last(masked)[1, 2:].eq(0).all()
