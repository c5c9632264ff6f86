"""Kernels that are made together are those that each layer makes alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import s4core
from s4core.nn import joint
from s4core.nn.block import Block

SHAPE = {"d_input": 1, "d_output": 3, "length": 24}
SMALL = {"d_model": 4, "d_state": 4, "n_layers": 3}
MODELS: dict[str, dict[str, Any]] = {
    "s4d": {"name": "s4d"},
    "s4d, bidirectional channels": {"name": "s4d", "bidirectional": True, "channels": 2},
    "s4d, pools and feed-forward": {
        "name": "s4d", "block_pool": "avg", "pool_every": 2, "n_layers": 4, "ff": 2,
    },
    "s4": {"name": "s4"},
    "s4, undamped": {"name": "s4", "init": "fout"},
    "dss": {"name": "dss"},
    "dss, exp": {"name": "dss", "form": "exp", "real_transform": "exp"},
    "sashimi": {"name": "sashimi", "pool": [2], "n_layers": 2},
}  # fmt: skip


@pytest.mark.parametrize("rate", [1.0, 2.0])
@pytest.mark.parametrize("model", MODELS)
def test_kernels_made_together_are_those_of_each_layer(
    model: str, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    built = s4core.build({**SMALL, **MODELS[model]}, SHAPE).double()
    x = torch.randn(2, int(24 / rate), 1, dtype=torch.float64)
    found = {}
    for small in (joint.SMALL, 0):
        monkeypatch.setattr(joint, "SMALL", small)
        y = built(x, rate=rate)
        found[small] = [y, *torch.autograd.grad(y.square().sum(), list(built.parameters()))]
    for together, alone in zip(*found.values(), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)


def test_only_what_is_alike_and_small_is_made_together() -> None:
    options = {**SMALL, "name": "s4d", "n_layers": 4, "block_pool": "avg", "pool_every": 2}
    backbone: Any = s4core.build(options, SHAPE).backbone
    assert isinstance(backbone.blocks[1], Block) and not isinstance(backbone.blocks[2], Block)
    x = torch.randn(1, 24, 4)
    assert set(joint.joint_kernels(backbone.blocks, x, 1.0)) == {0, 1}
    assert set(joint.joint_kernels(backbone.blocks, x[:, :12], 1.0, after=2)) == {3, 4}
    long = torch.empty(1, joint.SMALL, 4)
    assert joint.joint_kernels(backbone.blocks, long, 1.0) == {}
    other: Any = s4core.build({**options, "dt_tie": False}, SHAPE).backbone
    backbone.blocks[1] = other.blocks[1]
    assert joint.joint_kernels(backbone.blocks, x, 1.0) == {}
