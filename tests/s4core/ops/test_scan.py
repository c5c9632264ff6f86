"""The blocked scan against one step after the other."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops.scan import linear_scan, linear_scan_ref


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 50])
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_blocks_do_not_show(length, varying, reverse, dtype):
    torch.manual_seed(0)
    a = 0.9 * torch.randn(2, length, 3, dtype=dtype) if varying else torch.randn(3, dtype=dtype)
    b, x0 = torch.randn(2, length, 3, dtype=dtype), torch.randn(2, 3, dtype=dtype)
    for start in (None, x0):
        got = linear_scan(a, b, start, reverse=reverse)
        want = linear_scan_ref(a, b, start, reverse=reverse)
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    inputs = tuple(t.requires_grad_() for t in (a, b, x0))
    if length < 20:
        assert gradcheck(lambda *p: linear_scan(*p, reverse=reverse), inputs)


def test_powers_of_a_constant_keep_their_digits():
    """4096 products of a rounded factor near the unit circle would lose four digits."""
    a = torch.polar(torch.tensor(0.9999, dtype=torch.float64), torch.tensor(0.3).double())[None]
    b = torch.zeros(1, 4096, 1, dtype=torch.complex64)
    b[0, 0] = 1
    exact = a ** torch.arange(4096)[:, None]
    assert (linear_scan(a, b)[0] - exact).abs().max() < 3e-6


def test_nothing_is_scanned():
    assert linear_scan(torch.ones(3), torch.zeros(2, 0, 3)).shape == (2, 0, 3)
    assert linear_scan(torch.ones(3), torch.zeros(0, 5, 3)).shape == (0, 5, 3)
