"""The diagonal kernel: published numbers, its naive twin, gradients, precision, edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops import diagonal_kernel
from s4core.ops.vandermonde import diagonal_kernel_ref, traced_kernel

# What runs eagerly, and what a compiler traces.
KERNELS = [diagonal_kernel, traced_kernel]
GOLDEN = Path(__file__).parents[2] / "golden"


def system(H=3, n=4, C=2, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=g)

    A = torch.complex(-0.5 - rand(H, n).abs(), 3 * rand(H, n))
    B, C = torch.complex(rand(H, n), rand(H, n)), torch.complex(rand(C, H, n), rand(C, H, n))
    dt = 0.01 + 0.1 * torch.rand(H, dtype=torch.float64, generator=g)
    complex_dtype = torch.complex64 if dtype is torch.float32 else torch.complex128
    return A.to(complex_dtype), B.to(complex_dtype), C.to(complex_dtype), dt.to(dtype)


@pytest.mark.parametrize("name", ["legs_bilinear", "lin_zoh", "lin_bidirectional_ch2"])
def test_published_kernels(name):
    z = np.load(GOLDEN / f"diag_{name}.npz")
    A, B, C, dt, K = (torch.from_numpy(z[k]) for k in ("Lambda", "B", "C", "dt", "K_dense"))
    got = diagonal_kernel(
        A, B, C, dt, 24, discretization="bilinear" if "bilinear" in name else "zoh"
    )
    assert (got - K).abs().max() < 1e-13 * K.abs().max()


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 17, 100])
@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_fast_equals_ref(kernel, discretization, length, untied):
    A, B, C, dt = system()
    if untied:
        dt = dt[:, None] * torch.linspace(0.5, 2, 4, dtype=dt.dtype)
    got = kernel(A, B, C, dt, length, discretization=discretization)
    want = diagonal_kernel_ref(A, B, C, dt, length, discretization=discretization)
    assert got.dtype == torch.float64 and got.shape == (2, 3, length)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
@pytest.mark.parametrize("length", [1, 6, 9])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients(kernel, discretization, length):
    inputs = tuple(t.requires_grad_() for t in system(H=2, n=3))
    assert gradcheck(
        lambda *p: kernel(*p, length, discretization=discretization), inputs, atol=1e-7
    )


@pytest.mark.parametrize("length", [1024, 16384])
@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_is_within_2e_5_of_float64(kernel, length):
    """Of the same numbers, values and gradients; the naive float32 form is 1e-3 off."""
    n = 32
    A = torch.complex(-0.5 * torch.ones(4, n), torch.pi * torch.arange(n).float().expand(4, n))
    _, B, C, _ = system(4, n, 1, torch.float32)
    dt = torch.tensor([0.001, 0.003, 0.01, 0.1])
    narrow = [t.clone().requires_grad_() for t in (A, B, C, dt)]
    wide = [
        t.to(torch.complex128 if t.is_complex() else torch.float64).requires_grad_()
        for t in (A, B, C, dt)
    ]
    K32, K64 = kernel(*narrow, length), diagonal_kernel(*wide, length)
    assert K32.dtype == torch.float32
    assert ((K32 - K64).abs().amax(-1) < 2e-5 * K64.abs().amax(-1)).all()
    weight = torch.randn(length, dtype=torch.float64)
    (K32 * weight.float()).sum().backward()
    (K64 * weight).sum().backward()
    for a, b in zip(narrow, wide, strict=True):
        assert (a.grad - b.grad).abs().max() < 2e-5 * b.grad.abs().max()


@pytest.mark.parametrize("kernel", KERNELS)
def test_steps_that_underflow_or_overflow_give_no_nan(kernel):
    A, B, C, _ = system(H=4)
    A = torch.cat([A[:3], torch.zeros_like(A[3:])])
    dt = torch.tensor([1e-300, 1e5, 1e-45, 0.1], dtype=torch.float64, requires_grad=True)
    for discretization in ("zoh", "bilinear"):
        K = kernel(A, B, C, dt, 10, discretization=discretization)
        assert K.isfinite().all()
        (gradient,) = torch.autograd.grad(K.sum(), dt)
        assert gradient.isfinite().all()


def test_autocast_does_not_reach_the_kernel():
    inputs = system(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        K = diagonal_kernel(*inputs, 20)
    assert K.dtype == torch.float32
    torch.testing.assert_close(K, diagonal_kernel(*inputs, 20), rtol=0, atol=0)


def test_an_empty_kernel_is_refused():
    with pytest.raises(ValueError, match="at least one step"):
        diagonal_kernel(*system(), 0)
