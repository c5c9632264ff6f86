"""The softmax kernel of DSS: published numbers, its definition, growing modes, its recurrence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops.dss import dss_kernel, dss_kernel_ref, dss_recurrence

GOLDEN = Path(__file__).parents[2] / "golden"


def system(H=2, n=4, C=2):
    torch.manual_seed(0)
    # Half of the modes grow.
    A = torch.complex(
        torch.linspace(-2, 2, H * n).double().view(H, n), 5 * torch.randn(H, n).double()
    )
    return A, torch.randn(C, H, n, dtype=torch.complex128), 0.1 * torch.ones(H).double()


def test_published_kernel():
    z = np.load(GOLDEN / "diag_legs_dss.npz")
    A, B, C, dt, K = (torch.from_numpy(z[k]) for k in ("Lambda", "B", "C", "dt", "K_dense"))
    got = dss_kernel(A, B * C, dt, 24)
    assert (got - K).abs().max() < 1e-13 * K.abs().max()


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_fast_is_its_definition_and_its_recurrence(length):
    A, W, dt = system()
    K = dss_kernel_ref(A, W, dt, length)
    torch.testing.assert_close(dss_kernel(A, W, dt, length), K, rtol=1e-11, atol=1e-12)
    A_bar, x = dss_recurrence(A, dt, length)
    for k in range(length):
        torch.testing.assert_close((W * x).sum(-1).real, K[..., k], rtol=1e-10, atol=1e-11)
        x = A_bar * x


def test_a_shorter_kernel_of_a_fixed_horizon_is_its_beginning():
    A, W, dt = system()
    whole = dss_kernel(A, W, dt, 20)
    torch.testing.assert_close(dss_kernel(A, W, dt, 7, horizon=20), whole[..., :7])


@pytest.mark.parametrize("length", [1, 6])
def test_gradients(length):
    inputs = tuple(t.requires_grad_() for t in system())
    assert gradcheck(lambda *p: dss_kernel(*p, length), inputs)


def test_no_length_overflows():
    A, W, dt = system()
    inputs = [t.to(torch.complex64).requires_grad_() for t in (A, W)]
    K = dss_kernel(*inputs, dt.float(), 16384)
    assert K.dtype == torch.float32 and K.isfinite().all()
    wide = dss_kernel(A.to(torch.complex64), W.to(torch.complex64), dt.float().double(), 16384)
    assert (K - wide).abs().max() < 2e-5 * wide.abs().max()
    K.sum().backward()
    assert all(t.grad.isfinite().all() for t in inputs)
