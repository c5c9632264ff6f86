"""Spectral pooling; the pools that can step are among the options of test_block.py."""

from __future__ import annotations

import pytest
import torch

import s4core
from s4core import TaskShape
from s4core.nn.pool import BlockPool


@pytest.mark.parametrize("length", [24, 25, 30])
def test_a_spectral_pool_samples_slow_waves_and_drops_fast_ones(length):
    stride, steps = 3, length // 3
    pool, t = BlockPool("spectral", 2, stride=stride), torch.arange(steps * stride).double()
    turns = 2 * torch.pi * t / len(t)
    slow, fast = 1.5 + torch.cos(2 * turns), torch.cos((steps // 2 + 1) * turns)
    x = torch.stack([slow, slow + fast], -1)
    # What is left over of a stride is dropped.
    x = torch.cat([x, x.new_full((length - len(t), 2), 7.0)]).unsqueeze(0)
    y = pool(x)
    assert y.shape == (1, steps, 2)
    for channel in (0, 1):
        torch.testing.assert_close(y[0, :, channel], slow[::stride], rtol=1e-5, atol=1e-5)


def test_a_spectral_pool_trains_and_refuses_to_step():
    torch.manual_seed(0)
    shape = TaskShape(d_input=3, d_output=2, length=20)
    block = {"name": "s4d", "d_model": 8, "block_pool": "spectral", "pool_expand": 2, "n_layers": 3}
    model = s4core.build(block, shape)
    x = torch.randn(2, 20, 3, requires_grad=True)
    model(x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="a spectral pool has no step mode"):
        model.initial_state(2)
