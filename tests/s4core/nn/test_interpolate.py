"""SaShiMi with interpolation layers: who answers for which frame, and what it has seen."""

import pytest
import torch

from s4core import ConfigError, TaskShape, build

SHAPE = TaskShape(d_input=2, d_output=2, length=32, target="step_value")
BLOCK = {"name": "sashimi", "d_model": 4, "n_layers": 1, "d_state": 4, "pool": [2], "interp": 4}


def make(shape=SHAPE, **fields):
    torch.manual_seed(0)
    return build({**BLOCK, **fields}, shape).double().eval()


@pytest.mark.parametrize("length", [32, 29])
def test_each_answer_sees_the_frames_of_its_level_up_to_the_end_of_its_gap(length):
    """The gradient of an answer says what it has seen."""
    model = make()
    x = torch.randn(1, length, 2, dtype=torch.float64, requires_grad=True)
    y = model(x)
    for t in range(length - 4):
        (gradient,) = torch.autograd.grad(y[0, t].sum(), x, retain_graph=True)
        # The convolution by FFT spreads rounding, 1e-17, over what was not seen.
        seen = set((gradient[0].abs().sum(-1) > 1e-13).nonzero().flatten().tolist())
        if t % 4 == 3:
            assert seen <= set(range(0, t + 1, 4))
        else:
            stride = 4 if t % 4 == 1 else 2
            end = t // stride * stride + stride
            assert seen <= set(range(0, end + 1, stride))
            assert end in seen


def test_the_coarse_frames_are_the_inner_networks():
    model, x = make(), torch.randn(2, 32, 2, dtype=torch.float64)
    h = model.encoder(x)
    backbone = model.backbone
    assert torch.equal(backbone(h)[:, 3::4], backbone.net(h[:, ::4]))


def test_padding_changes_nothing_and_gradients_are_finite():
    model, x = make(), torch.randn(2, 29, 2, dtype=torch.float64)
    x[1, 17:] = 0.0
    lengths = torch.tensor([29, 17])
    y = model(x, lengths)
    other = x.clone()
    other[1, 17:] = 5.0
    assert (model(other, lengths) - y)[1, :16].abs().max() < 1e-12
    y.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_it_looks_ahead_so_it_cannot_step():
    with pytest.raises(ValueError, match="sashimi with interp looks ahead"):
        make().initial_state(1)
    with pytest.raises(ConfigError, match="interp to be 0 or a power of two >= 2, got 3"):
        make(interp=3)


def test_the_centre_may_go_without_feed_forward_blocks():
    names = [n for n, _ in make(interp=0, ff_center=0).named_parameters()]
    assert not any(n.startswith("backbone.top.inner.up.1.") for n in names)
    assert any(n.startswith("backbone.top.up.1.") for n in names)
