"""S4D: its modes agree, its initial values are the published ones, and nothing is NaN."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.transforms import FLOOR

GOLDEN = Path(__file__).parents[2] / "golden"

VARIANTS = [
    {},
    {"init": "lin", "dt_tie": False},
    {"init": "inv", "discretize": "bilinear", "n_ssm": 2},
    {"init": "all", "real_transform": "softplus", "dt_transform": "softplus"},
    {"init": "real", "is_real": True},
    {"init": "quad", "bandlimit": 0.5, "imag_transform": "relu"},
    {"init": "diag", "deterministic": True, "real_transform": "relu"},
    {"init": "rand", "B_init": "random", "normalize": True, "dt_transform": "sigmoid"},
    {"init": "fout", "B_init": "unit-cw", "real_transform": "none"},
    {"init": "legs", "imag_scale": 4.0, "dt_fast": True},
]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("length", [1, 2, 13])
def test_step_is_conv(options, length):
    layer = SSMLayer(DiagonalSSM(4, DiagonalOptions(d_state=8, **options), channels=2))
    u = torch.randn(3, length, 4)
    y = layer(u)
    state, steps = layer.initial_state(3), []
    for t in range(length):
        out, state = layer.step(u[:, t], state)
        steps.append(out)
    torch.testing.assert_close(torch.stack(steps, 1), y, rtol=1e-11, atol=1e-11)
    gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    again = torch.autograd.grad(torch.stack(steps, 1).square().sum(), list(layer.parameters()))
    for a, b in zip(gradients, again, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["legs_bilinear", "lin_zoh", "lin_bidirectional_ch2"])
def test_published_layers_with_their_parameters(name):
    z = np.load(GOLDEN / f"diag_{name}.npz")
    config = json.loads(str(z["config"]))
    bidirectional = config["bidirectional"]
    options = DiagonalOptions(d_state=8, discretize=config["disc"])
    ssm = DiagonalSSM(3, options, channels=config["channels"] * (1 + bidirectional))
    layer = SSMLayer(ssm, bidirectional=bidirectional)
    with torch.no_grad():
        for own, published in {"A_real": "A_real", "A_imag": "A_imag", "dt": "inv_dt"}.items():
            getattr(ssm, own).copy_(torch.from_numpy(z[f"raw_{published}"]))
        ssm.B.copy_(torch.from_numpy(z["raw_B"][0]))
        ssm.C.copy_(torch.from_numpy(z["raw_C"]))
        layer.D.copy_(torch.from_numpy(z["D"]))
    u, y = torch.from_numpy(z["u"]), torch.from_numpy(z["y_dense"])
    torch.testing.assert_close(layer.convolve(u), y, rtol=1e-12, atol=1e-12)
    if "K_official_rate2" in z.files:
        K = torch.from_numpy(z["K_official_rate2"])
        torch.testing.assert_close(ssm.kernel(12, rate=2.0), K, rtol=1e-12, atol=1e-12)
    if not bidirectional:
        state = layer.initial_state(2)
        for t in range(24):
            _, state = layer.step(u[..., t], state)
        end = torch.from_numpy(z["state_step_diag"])
        torch.testing.assert_close(state.x, end, rtol=1e-12, atol=1e-12)


def test_initial_values_are_the_published_ones():
    z = np.load(GOLDEN / "diag_lin_zoh.npz")
    A, B, _, _ = DiagonalSSM(3, DiagonalOptions(d_state=8, init="lin")).system()
    # The published code moves the mode at 0 by 1e-4, because it clamps what it stores.
    assert np.abs(A.detach().numpy() - z["Lambda"]).max() <= 1.0001e-4
    assert np.abs(B.detach().numpy() - z["B"]).max() < 1e-15
    z = np.load(GOLDEN / "diag_legs_bilinear.npz")
    A, B, _, _ = DiagonalSSM(3, DiagonalOptions(d_state=8, init="legs")).system()
    # Published numbers are rounded to float32.
    assert np.abs(A.detach().numpy() - z["Lambda"]).max() < 1e-6
    # A unit phase per mode is free, where nothing was clipped.
    assert np.abs(np.abs(B[:, 1:].detach().numpy()) - np.abs(z["B"][:, 1:])).max() < 1e-6
    wide = DiagonalSSM(4096, DiagonalOptions(d_state=2))
    log_dt = wide.dt.detach()
    assert np.log(0.001) <= log_dt.min() and log_dt.max() <= np.log(0.1)
    assert abs(log_dt.mean() - np.log(0.01)) < 0.1
    assert abs(wide.C.var() - 0.5) < 0.05


@pytest.mark.parametrize("log_dt", [-2000.0, 2000.0])
def test_a_step_that_trained_to_nothing_or_infinity_is_not_nan(log_dt):
    layer = SSMLayer(DiagonalSSM(4, DiagonalOptions(d_state=4)))
    with torch.no_grad():
        layer.ssm.dt.fill_(log_dt)
    y = layer(torch.randn(2, 9, 4))
    assert y.isfinite().all()
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_an_empty_batch_passes():
    layer = SSMLayer(DiagonalSSM(4, DiagonalOptions(d_state=4)))
    assert layer(torch.zeros(0, 5, 4)).shape == (0, 5, 4)
    y, _ = layer.step(torch.zeros(0, 4), layer.initial_state(0))
    assert y.shape == (0, 4)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="even d_state"):
        DiagonalOptions(d_state=7)
    with pytest.raises(ValueError, match="0 < dt_min <= dt_max"):
        DiagonalOptions(dt_min=0.2, dt_max=0.1)
    with pytest.raises(ValueError, match="n_ssm must divide"):
        DiagonalSSM(4, DiagonalOptions(n_ssm=3))
    with pytest.raises(ValueError, match="mixes 4"):
        DiagonalSSM(4, DiagonalOptions(n_ssm=2, init="all"))
    with pytest.raises(ValueError, match=r"2 \* channels"):
        SSMLayer(DiagonalSSM(4, DiagonalOptions()), bidirectional=True)
    layer = SSMLayer(DiagonalSSM(4, DiagonalOptions(), channels=2), bidirectional=True)
    with pytest.raises(ValueError, match="no step mode"):
        layer.initial_state(1)


@pytest.mark.parametrize("init", ["legs", "fout", "lin", "dplr-inv", "random", "all"])
def test_scales_act_on_every_init(init):
    """A sweep over imag_scale that starts from LegS must not be flat."""
    made = {}
    for scale in (1.0, 2.0):
        torch.manual_seed(0)
        scales = {"real_scale": scale, "imag_scale": 3 * scale}
        options = DiagonalOptions(d_state=8, init=init, real_transform="none", **scales)
        made[scale] = DiagonalSSM(4, options).A()
    one, two = made[1.0], made[2.0]
    # Fourier has a mode without decay, which begins at the floor.
    expected = torch.where(one.real.abs() < 1.5 * FLOOR, one.real, 2.0 * one.real)
    torch.testing.assert_close(two.real, expected)
    torch.testing.assert_close(two.imag, 2.0 * one.imag)


@pytest.mark.parametrize("transform", ["exp", "softplus", "none"])
def test_fast_steps_begin_like_others_and_are_bounded(transform):
    """Source: the option dt_fast of the official code, asinh at the start and sinh in forward."""
    options = {"d_state": 4, "deterministic": True, "dt_transform": transform}
    plain = DiagonalSSM(4, DiagonalOptions(**options))
    fast = DiagonalSSM(4, DiagonalOptions(**options, dt_fast=True))
    torch.testing.assert_close(fast.steps(1.0), plain.steps(1.0))
    torch.testing.assert_close(fast.dt, torch.asinh(plain.dt))
    for raw in (-500.0, 500.0):
        fast.dt.data.fill_(raw)
        dt = fast.steps(1.0)
        assert ((dt >= 1e-6) & (dt <= 1.1e4)).all()
        assert torch.autograd.grad(dt.sum(), fast.dt)[0].isfinite().all()
