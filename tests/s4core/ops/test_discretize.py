"""Discretisation by its closed forms."""

from __future__ import annotations

import pytest
import torch

from s4core.ops import discretize


def test_zoh_and_bilinear_are_their_closed_forms():
    A = torch.tensor([-0.5 + 3j, -2 - 40j, 0.1 + 1j], dtype=torch.complex128)
    dt = torch.tensor(0.1, dtype=torch.float64)
    log_A, gain = discretize(A, dt, "zoh")
    torch.testing.assert_close(log_A.exp(), torch.exp(A * dt))
    torch.testing.assert_close(gain, (torch.exp(A * dt) - 1) / A)
    log_A, gain = discretize(A, dt, "bilinear")
    torch.testing.assert_close(log_A.exp(), (1 + A * dt / 2) / (1 - A * dt / 2))
    torch.testing.assert_close(gain, dt / (1 - A * dt / 2))


def test_zoh_has_no_hole_at_zero():
    """Across the switch to the series the gain and its derivative are those of (e^z - 1) / z."""
    A = torch.tensor([0j, 1e-12, 9.9e-4, 1.01e-3j], dtype=torch.complex128, requires_grad=True)
    dt = torch.ones((), dtype=torch.float64)
    _, gain = discretize(A, dt)
    z = A.detach()
    torch.testing.assert_close(gain, 1 + z / 2 + z**2 / 6 + z**3 / 24 + z**4 / 120)
    (slope,) = torch.autograd.grad(gain.real.sum(), A)
    assert slope.isfinite().all()
    torch.testing.assert_close(slope[0], torch.tensor(0.5 + 0j, dtype=torch.complex128))


def test_an_unknown_rule_is_refused():
    with pytest.raises((ValueError, TypeError), match="bilinear"):
        discretize(torch.zeros(1, 1, dtype=torch.complex64), torch.ones(1, 1), "euler")
