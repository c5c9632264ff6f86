"""The recurrence in blocks against the recurrence in steps."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops import diagonal_kernel, fft_conv
from s4core.ops.chunk import chunk_scan, diagonal_tables
from s4core.ops.krylov import dense_tables


def diagonal_system(H=2, n=3, C=2):
    torch.manual_seed(0)
    A = torch.complex(-torch.rand(H, n).double() - 0.1, 4 * torch.randn(H, n).double())
    B, C = (torch.randn(*s, dtype=torch.complex128) for s in ((H, n), (C, H, n)))
    return A, B, C, 0.1 + 0.1 * torch.rand(H).double()


def dense_system(H=2, N=4, C=2):
    torch.manual_seed(0)
    A = torch.randn(H, N, N).double() - 2 * torch.eye(N)
    return (
        A,
        torch.randn(H, N).double(),
        torch.randn(C, H, N).double(),
        0.1 * torch.rand(H).double(),
    )


@pytest.mark.parametrize("length", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_from_zero_it_is_the_convolution(length, discretization):
    system = diagonal_system()
    u = torch.randn(3, 2, length, dtype=torch.float64)
    y, _ = chunk_scan(u, diagonal_tables(*system, 8, discretization=discretization))
    K = diagonal_kernel(*system, length, discretization=discretization)
    torch.testing.assert_close(y, fft_conv(u, K), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("tables", "system"), [(diagonal_tables, diagonal_system()), (dense_tables, dense_system())]
)
@pytest.mark.parametrize("cut", [0, 1, 5, 8, 13])
def test_any_cut_gives_the_whole(tables, system, cut):
    u = torch.randn(3, 2, 20, dtype=torch.float64)
    whole, end = chunk_scan(u, tables(*system, 8))
    first, middle = chunk_scan(u[..., :cut], tables(*system, 4))
    second, last = chunk_scan(u[..., cut:], tables(*system, 8), middle)
    tight = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(torch.cat([first, second], -1), whole, **tight)
    torch.testing.assert_close(last, end, **tight)


@pytest.mark.parametrize(
    ("tables", "system"), [(diagonal_tables, diagonal_system()), (dense_tables, dense_system())]
)
def test_gradients(tables, system):
    u = torch.randn(2, 2, 5, dtype=torch.float64)
    x = torch.randn(2, 2, tables(*system, 2).write.shape[-1], dtype=torch.float64)
    inputs = tuple(t.detach().requires_grad_() for t in (u, x, *system))
    assert gradcheck(lambda u, x, *s: chunk_scan(u, tables(*s, 2), x), inputs, atol=1e-6)


@pytest.mark.parametrize(
    ("tables", "system"), [(diagonal_tables, diagonal_system()), (dense_tables, dense_system())]
)
def test_no_sequences_are_none(tables, system):
    u = torch.zeros(0, 2, 20, dtype=torch.float64, requires_grad=True)
    y, end = chunk_scan(u, tables(*system, 8))
    assert (y.shape, end.shape[:2]) == ((0, 4, 20), (0, 2))
    y.sum().backward()
    assert u.grad.shape == u.shape
