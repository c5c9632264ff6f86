"""LSSL: its transitions are HiPPO matrices, its modes agree, its fixed form is cached rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.nn.ssm_layer import SSMLayer
from s4core.ops import hippo
from s4core.ssm.dense import DenseOptions, DenseSSM

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "scale"), [("legs", 1), ("legt", 2), ("lagt", 1)])
def test_transitions_are_hippo_matrices(name, scale):
    A, B = DenseSSM(2, DenseOptions(d_state=8, transition=name, noise=0.0)).system()
    want_A, want_B = hippo(name, 8)
    torch.testing.assert_close(A, scale * want_A, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(B, scale * want_B, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("learn", ["fixed", "shared", "per_feature"])
@pytest.mark.parametrize("transition", ["legs", "legt", "lagt", "jac", "chebi", "chebii"])
@pytest.mark.parametrize("length", [1, 11])
def test_step_is_conv(learn, transition, length):
    options = DenseOptions(d_state=4, transition=transition, learn=learn)
    layer = SSMLayer(DenseSSM(3, options, channels=2))
    u = torch.randn(2, length, 3)
    y, state, steps = layer(u), layer.initial_state(2), []
    for t in range(length):
        out, state = layer.step(u[:, t], state)
        steps.append(out)
    torch.testing.assert_close(torch.stack(steps, 1), y, rtol=1e-9, atol=1e-9)
    pieces, carried = [], layer.initial_state(2)
    for piece in u.split(4, 1):
        out, carried = layer.forward_with_state(piece, carried)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_published_layer():
    z = np.load(GOLDEN / "lssl_head_legs_learn1.npz")
    ssm = DenseSSM(4, DenseOptions(d_state=8), channels=2)
    layer = SSMLayer(ssm)
    names = {"A_lower": "dl", "A_diag": "d", "A_upper": "du", "A_left": "pl", "A_right": "pr",
             "A_shift": "c", "B": "b"}  # fmt: skip
    with torch.no_grad():
        for own, published in names.items():
            value = torch.from_numpy(z[f"sd.transition.{published}"])
            value = {"dl": value[1:8], "du": value[:7]}.get(published, value)
            getattr(ssm, own).copy_(value)
        ssm.dt.copy_(torch.from_numpy(z["sd.log_dt"])[:, None])
        ssm.C.copy_(torch.from_numpy(z["sd.C"]).transpose(0, 1))
        layer.D.copy_(torch.from_numpy(z["sd.D"]).T)
    tight = {"rtol": 1e-10, "atol": 1e-10}
    K = torch.from_numpy(z["K_dense_HML"]).transpose(0, 1)
    torch.testing.assert_close(ssm.kernel(20), K, **tight)
    y = torch.from_numpy(z["y_preact_dense"])
    got = layer(torch.from_numpy(z["x"])).view(2, 20, 2, 4).transpose(2, 3)
    torch.testing.assert_close(got, y, **tight)


def test_a_fixed_system_that_was_loaded_forgets_what_it_was():
    one, other = (
        torch.nn.ModuleDict({"ssm": DenseSSM(2, DenseOptions(d_state=4, learn="fixed"))})
        for _ in range(2)
    )
    expected, _ = one["ssm"].kernel(8), other["ssm"].kernel(8)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other["ssm"].kernel(8), expected)


def test_a_fixed_system_is_made_once_and_again_for_another_dtype():
    ssm = DenseSSM(3, DenseOptions(d_state=4, learn="fixed"))
    assert [n for n, _ in ssm.named_parameters()] == ["C"]
    K = ssm.kernel(16)
    kept = ssm._cache[16, 1.0]
    ssm.kernel(16)
    assert ssm._cache[16, 1.0] is kept
    assert (ssm.float().kernel(16) - K).abs().max() < 1e-6
    torch.testing.assert_close(ssm.double().kernel(16, rate=2.0).shape, K.shape)
