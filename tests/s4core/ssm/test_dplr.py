"""S4: its modes agree, at any length and rate, and stay what was published."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.dplr import DplrOptions, DplrSSM

GOLDEN = Path(__file__).parents[2] / "golden"

VARIANTS = [
    {},
    {"init": "fout", "rank": 2, "n_ssm": 1},
    {"init": "legt", "rank": 3, "dt_transform": "softplus"},
    {"init": "hippo", "n_ssm": 2, "real_transform": "relu"},
    {"init": "dplr-lin", "rank": 1, "deterministic": True},
    {"init": "all"},
    {"init": "foud"},
    {"init": "legs", "bandlimit": 0.1},
    {"init": "diag-inv", "dt_tie": False},
    {"init": "legt", "rank": 2, "dt_tie": False},
]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def stepped(layer, u):
    state, steps = layer.initial_state(len(u)), []
    for t in range(u.shape[1]):
        out, state = layer.step(u[:, t], state)
        steps.append(out)
    return torch.stack(steps, 1), state


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize(("length", "l_max"), [(1, 1), (13, 13), (7, 12), (20, 12)])
def test_step_is_conv(options, length, l_max):
    """Shorter and longer than l_max too."""
    ssm = DplrSSM(4, DplrOptions(d_state=8, dt_min=0.01, **options), l_max=l_max, channels=2)
    layer = SSMLayer(ssm)
    u = torch.randn(3, length, 4)
    y, (steps, _) = layer(u), stepped(layer, u)
    torch.testing.assert_close(steps, y, rtol=1e-8, atol=1e-8)
    parameters = list(layer.parameters())
    gradients = torch.autograd.grad(y.square().sum(), parameters)
    again = torch.autograd.grad(steps.square().sum(), parameters)
    for a, b in zip(gradients, again, strict=True):
        assert a.isfinite().all()
        assert (a - b).abs().max() < 1e-6 * b.abs().max() + 1e-9


@pytest.mark.parametrize("name", ["legs", "fout_rank2"])
def test_published_layers_with_their_parameters(name):
    z = np.load(GOLDEN / f"dplr_{name}.npz")
    config = json.loads(str(z["config"]))
    rank = config.get("rank", 1)
    layer = SSMLayer(DplrSSM(3, DplrOptions(d_state=8, rank=rank), l_max=24))
    ssm = layer.ssm
    with torch.no_grad():
        for own, published in {"A_real": "A_real", "A_imag": "A_imag", "dt": "inv_dt"}.items():
            getattr(ssm, own).copy_(torch.from_numpy(z[f"raw_{published}"]))
        ssm.B.copy_(torch.from_numpy(z["raw_B"][0]))
        ssm.P.copy_(torch.from_numpy(z["raw_P"]))
        layer.D.copy_(torch.from_numpy(z["D"]))
    ssm.store_readout(torch.view_as_complex(torch.from_numpy(z["raw_C"])))
    tight = {"rtol": 1e-10, "atol": 1e-10}
    C_tilde = torch.view_as_complex(ssm.C)
    torch.testing.assert_close(C_tilde, torch.from_numpy(z["C_tilde"]), **tight)
    u = torch.from_numpy(z["u"])
    y = layer.convolve(u)
    torch.testing.assert_close(y, torch.from_numpy(z["y_dense"]), **tight)
    steps, state = stepped(layer, u.transpose(1, 2))
    torch.testing.assert_close(steps.transpose(1, 2), torch.from_numpy(z["y_step_linear"]), **tight)
    torch.testing.assert_close(state.x, torch.from_numpy(z["state_step_linear"]), **tight)
    if "K_official_short" in z.files:
        short = torch.from_numpy(z["K_official_short"])
        torch.testing.assert_close(ssm.kernel(10), short, **tight)


def test_another_rate_samples_the_same_system():
    """Half the rate, twice the length: close to the kernel at rate 1 by the bilinear error."""
    ssm = DplrSSM(2, DplrOptions(d_state=4, dt_min=0.001, dt_max=0.002), l_max=200)
    fine, coarse = ssm.kernel(400, rate=0.5), ssm.kernel(200)
    assert (fine[..., ::2] * 2 - coarse).abs().max() < 0.02 * coarse.abs().max()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="rank >= 2"):
        DplrSSM(4, DplrOptions(init="legt"), l_max=8)
    with pytest.raises(ValueError, match="l_max >= 1"):
        DplrSSM(4, DplrOptions(), l_max=0)
    with pytest.raises(ValueError, match="even d_state"):
        DplrOptions(d_state=9)


def test_a_system_whose_damping_is_trained_away_stays_exact_in_float32():
    torch.set_default_dtype(torch.float32)
    ssm = DplrSSM(4, DplrOptions(d_state=32), l_max=1024)
    assert ssm.is_damped
    with torch.no_grad():
        ssm.A_real.fill_(-9.0)  # -Re A = exp(-9)
    assert not ssm.eval().is_damped
    exact = copy.deepcopy(ssm).double().kernel(1024)
    assert (ssm.kernel(1024) - exact).abs().max() < 2e-5 * exact.abs().max()
    loaded = DplrSSM(4, DplrOptions(d_state=32), l_max=1024).eval()
    loaded.load_state_dict(ssm.state_dict())
    assert torch.equal(loaded.kernel(1024), ssm.kernel(1024))
