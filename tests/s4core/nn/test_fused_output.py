"""The blocked operations of a CPU against the plain ones, forward and gradients."""

import pytest
import torch
import torch.nn.functional as F

from s4core.nn import fused_output


def leaves(*shapes):
    torch.manual_seed(0)
    return [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]


def assert_same(fast, plain, inputs):
    assert (fast - plain).abs().max() < 1e-12
    weight = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad((fast * weight).sum(), inputs),
        torch.autograd.grad((plain * weight).sum(), inputs),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-11 * (1 + b.abs().max())


# One block, several sequences a block, several blocks a sequence (with a remainder).
BLOCKS = [1 << 20, 6 * 130, 6 * 64]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("length", [50, 150])
def test_the_gated_output(block, masked, approximate, length, monkeypatch):
    monkeypatch.setattr(fused_output, "BLOCK", block)
    y, W, b = inputs = leaves((6, 5, length), (8, 6), (8,))
    inner = outer = None
    g = F.gelu(y, approximate=approximate)
    if masked:
        inner, outer = torch.rand(6, 5).double(), torch.rand(4, 5).double()
        g = g * inner[..., None]
    plain = F.glu(torch.einsum("oi,ibl->obl", W, g) + b[:, None, None], dim=0)
    plain = plain * outer[..., None] if masked else plain
    fast = fused_output.glu_output(y, W, b, inner=inner, outer=outer, approximate=approximate)
    assert_same(fast, plain, inputs)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [50, 150])
def test_the_gated_output_into_a_norm(block, masked, length, monkeypatch):
    monkeypatch.setattr(fused_output, "BLOCK", block)
    y, W, b, x, weight, bias = inputs = leaves(
        (6, 5, length), (8, 6), (8,), (4, 5, length), (4,), (4,)
    )
    outer = torch.rand(4, 5).double() if masked else None
    z = fused_output.glu_output(y, W, b, outer=outer)
    total = (x + z).permute(1, 2, 0)
    plain = F.layer_norm(total, (4,), weight, bias, 1e-5).permute(2, 0, 1)
    end = fused_output.Sum(x, weight, bias, 1e-5)
    assert_same(fused_output.glu_output(y, W, b, outer=outer, into=end), plain, inputs)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("summed", [False, True])
def test_the_layer_norm(block, summed, monkeypatch):
    monkeypatch.setattr(fused_output, "BLOCK", block)
    x, y, weight, bias = leaves((6, 5, 70), (6, 5, 70), (6,), (6,))
    inputs = [x, y, weight, bias] if summed else [x, weight, bias]
    total = x + y if summed else x
    plain = F.layer_norm(total.permute(1, 2, 0), (6,), weight, bias, 1e-5).permute(2, 0, 1)
    fast = fused_output.layer_norm(x, y if summed else None, weight, bias, 1e-5)
    assert_same(fast, plain, inputs)
