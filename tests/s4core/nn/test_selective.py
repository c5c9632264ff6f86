"""The scans of Mamba-1 and Mamba-2 against their definitions."""

import pytest
import torch
import torch.nn.functional as F

from s4core.nn import selective_scan as s6
from s4core.nn import ssd


def s6_inputs(length):
    torch.manual_seed(0)
    f64 = {"dtype": torch.float64}
    u, dt = torch.randn(2, length, 3, **f64), F.softplus(torch.randn(2, length, 3, **f64))
    A, x0 = -torch.rand(3, 4, **f64), torch.randn(2, 3, 4, **f64)
    B, C = torch.randn(2, length, 4, **f64), torch.randn(2, length, 4, **f64)
    return [v.requires_grad_() for v in (u, dt, A, B, C, x0)]


def ssd_inputs(length):
    torch.manual_seed(0)
    f64 = {"dtype": torch.float64}
    x, log_a = torch.randn(2, length, 3, 4, **f64), -F.softplus(torch.randn(2, length, 3, **f64))
    B, C = torch.randn(2, length, 3, 5, **f64), torch.randn(2, length, 3, 5, **f64)
    S = torch.randn(2, 3, 4, 5, **f64)
    return [v.requires_grad_() for v in (x, log_a, B, C, S)]


@pytest.mark.parametrize("length", [1, 64, 150])
@pytest.mark.parametrize(
    ("fast", "ref", "inputs"),
    [
        (s6.selective_scan, s6.selective_scan_ref, s6_inputs),
        (ssd.ssd, ssd.ssd_ref, ssd_inputs),
    ],
)
def test_the_chunked_scan_and_its_gradients_equal_the_definition(fast, ref, inputs, length):
    args = inputs(length)
    (y, last), (y_ref, last_ref) = fast(*args), ref(*args)
    assert (y - y_ref).abs().max() < 1e-10
    assert (last - last_ref).abs().max() < 1e-10
    weight = torch.randn_like(y)
    for a, b in zip(
        torch.autograd.grad((y * weight).sum(), args),
        torch.autograd.grad((y_ref * weight).sum(), args),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-9 * (1 + b.abs().max())


def test_a_long_strong_decay_stays_finite_in_float32():
    u, dt, A, B, C, x0 = (v.detach().float() for v in s6_inputs(200))
    y, _ = s6.selective_scan(u, 100 * dt, 16 * A, B, C, x0)
    assert y.isfinite().all()
    x, log_a, B, C, S = (v.detach().float() for v in ssd_inputs(200))
    y, _ = ssd.ssd(x, 1000 * log_a, B, C, S)
    assert y.isfinite().all()
