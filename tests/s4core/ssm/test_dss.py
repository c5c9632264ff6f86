"""DSS: it steps as it convolves, in both forms, though the published code cannot step."""

from __future__ import annotations

import pytest
import torch

from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.dss import DssOptions, DssSSM


@pytest.mark.parametrize("form", ["softmax", "exp"])
@pytest.mark.parametrize("init", ["legs", "lin"])
@pytest.mark.parametrize("length", [1, 11])
def test_step_is_conv(form, init, length):
    torch.manual_seed(0)
    ssm = DssSSM(4, DssOptions(d_state=8, form=form, init=init), l_max=12, channels=2)
    layer = SSMLayer(ssm).double()
    assert not hasattr(ssm, "B") or ssm.B is None
    if form == "softmax":
        with torch.no_grad():
            ssm.A_real[:, ::2].neg_()  # modes that grow
    u = torch.randn(3, length, 4, dtype=torch.float64)
    y, state, steps = layer(u), layer.initial_state(3), []
    for t in range(length):
        out, state = layer.step(u[:, t], state)
        steps.append(out)
    torch.testing.assert_close(torch.stack(steps, 1), y, rtol=1e-10, atol=1e-10)
    pieces, carried = [], layer.initial_state(3)
    for piece in u.split(4, 1):
        out, carried = layer.forward_with_state(piece, carried)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    assert all(g.isfinite().all() for g in gradients)
