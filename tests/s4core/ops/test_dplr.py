"""Kernels of DPLR and dense systems: published numbers, two algorithms, gradients, precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops import dense_kernel, dplr_kernel, hippo, nplr
from s4core.ops.cauchy import cauchy_kernel, truncated_dplr_kernel, truncated_dplr_kernel_ref
from s4core.ops.dplr import dplr_discretize, krylov_kernel, truncate, untruncate
from s4core.ops.krylov import dense_kernel_ref

GOLDEN = Path(__file__).parents[2] / "golden"


def published(name):
    z = np.load(GOLDEN / f"dplr_{name}.npz")
    return {k: torch.from_numpy(np.asarray(z[k])) for k in z.files if z[k].dtype.kind != "U"}


def system(H=2, n=3, R=1, C=2, seed=0):
    g = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.complex(
            torch.randn(*shape, dtype=torch.float64, generator=g),
            torch.randn(*shape, dtype=torch.float64, generator=g),
        )

    A = torch.complex(-0.2 - rand(H, n).real.abs(), 5 * rand(H, n).real)
    dt = 0.02 + 0.2 * torch.rand(H, dtype=torch.float64, generator=g)
    return A, rand(R, H, n), rand(H, n), rand(C, H, n), dt


def by_definition(A, P, B, C, dt, length):
    """C A_bar^l B_bar with full complex matrices."""
    both = [torch.cat([t, t.conj()], -1) for t in (A, B, C)]
    full_P = torch.cat([P, P.conj()], -1)
    M = torch.diag_embed(both[0]) - torch.einsum("rhm,rhn->hmn", full_P, full_P.conj())
    step = torch.cat([dt, dt], -1) if dt.ndim == 2 and dt.shape[1] > 1 else dt.reshape(-1, 1)
    M = M * step.unsqueeze(-1)
    eye = torch.eye(M.shape[-1], dtype=M.dtype)
    A_bar = torch.linalg.solve(eye - M / 2, eye + M / 2)
    x = torch.linalg.solve(eye - M / 2, (both[1] * step).unsqueeze(-1))
    K = []
    for _ in range(length):
        K.append(torch.einsum("chn,hno->ch", both[2], x).real)
        x = A_bar @ x
    return torch.stack(K, -1)


@pytest.mark.parametrize("R", [1, 2, 3])
def test_a_step_for_each_mode_scales_its_row_of_the_system(R):
    A, P, B, C, _ = system(R=R)
    dt = 0.02 + 0.2 * torch.rand(A.shape, dtype=torch.float64)
    expected = by_definition(A, P, B, C, dt, 17)
    scale = expected.abs().max()
    assert (dplr_kernel(A, P, B, C, dt, 17) - expected).abs().max() < 1e-12 * scale
    C_tilde = truncate(C, dplr_discretize(A, P, B, dt)[0], 17)
    for kernel in (cauchy_kernel, krylov_kernel):
        assert (kernel(A, P, B, C_tilde, dt, 17) - expected).abs().max() < 1e-11 * scale


@pytest.mark.parametrize("name", ["legs", "fout_rank2"])
def test_published_kernels(name):
    z = published(name)
    K, scale = z["K_dense"], z["K_dense"].abs().max()
    fixed = (z["Lambda"], z["P"], z["B"])
    assert (dplr_kernel(*fixed, z["C"], z["dt"], 24) - K).abs().max() < 1e-12 * scale
    for kernel in (cauchy_kernel, krylov_kernel, truncated_dplr_kernel):
        assert (kernel(*fixed, z["C_tilde"], z["dt"], 24) - K).abs().max() < 1e-11 * scale
    first, _ = dplr_discretize(*fixed, z["dt"])
    tight = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(truncate(z["C"], first, 24), z["C_tilde"], **tight)
    torch.testing.assert_close(untruncate(z["C_tilde"], first, 24), z["C"], **tight)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 64, 100, 129])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_all_ways_are_the_definition(length, rank):
    A, P, B, C, dt = system(R=rank)
    K = by_definition(A, P, B, C, dt, length)
    tight = {"rtol": 1e-10, "atol": 1e-11}
    torch.testing.assert_close(dplr_kernel(A, P, B, C, dt, length), K, **tight)
    first, _ = dplr_discretize(A, P, B, dt)
    C_tilde = truncate(C, first, length)
    torch.testing.assert_close(krylov_kernel(A, P, B, C_tilde, dt, length), K, **tight)
    torch.testing.assert_close(cauchy_kernel(A, P, B, C_tilde, dt, length), K, **tight)
    if length % 2:
        ref = truncated_dplr_kernel_ref(A, P, B, C_tilde, dt[:, None], length)
        torch.testing.assert_close(ref, K, **tight)


@pytest.mark.parametrize("kernel", [dplr_kernel, krylov_kernel, cauchy_kernel])
@pytest.mark.parametrize(("length", "rank"), [(1, 1), (6, 1), (17, 2), (5, 3)])
def test_gradients(kernel, length, rank):
    inputs = tuple(t.requires_grad_() for t in system(H=2, n=2, R=rank, C=1))
    assert gradcheck(lambda *p: kernel(*p, length), inputs, atol=1e-6)


@pytest.mark.parametrize("name", ["legs", "fout", "legt", "lagt"])
@pytest.mark.parametrize("length", [8, 64, 512, 1000, 16384])
def test_float32_is_within_2e_5_of_float64(name, length):
    """Of the same numbers, for steps across the usual range; the published code is 1e-3 off."""
    torch.manual_seed(0)
    H, rank = 4, 2 if name == "legt" else 1
    A, P, B, _ = nplr(name, 64, rank)
    A = torch.complex(A.real.clamp(max=-1e-4), A.imag).repeat(H, 1)
    B, P = B.repeat(H, 1), P.unsqueeze(1).repeat(1, H, 1)
    C = torch.randn(1, H, 32, dtype=torch.complex64)
    dt = torch.logspace(-3, -1, H)
    A, P, B = (t.to(torch.complex64) for t in (A, P, B))
    wide = [t.to(torch.complex128 if t.is_complex() else torch.float64) for t in (A, P, B, C, dt)]
    K64 = dplr_kernel(*wide, length)
    K32 = dplr_kernel(A, P, B, C, dt, length)
    assert K32.dtype == torch.float32 and K64.dtype == torch.float64
    assert ((K32 - K64).abs().amax(-1) < 2e-5 * K64.abs().amax(-1)).all()
    first, _ = dplr_discretize(*wide[:3], wide[4])
    C_tilde = truncate(wide[3], first, length).to(torch.complex64)
    K64 = krylov_kernel(*wide[:3], C_tilde.to(torch.complex128), wide[4], length)
    K32 = truncated_dplr_kernel(A, P, B, C_tilde, dt, length, is_damped=name == "legs")
    assert ((K32 - K64).abs().amax(-1) < 2e-5 * K64.abs().amax(-1)).all()


def dense_system(H=2, N=5, C=2):
    torch.manual_seed(1)
    A, B = hippo("legs", N)
    A = A.repeat(H, 1, 1) + 0.1 * torch.randn(H, N, N, dtype=torch.float64)
    return (
        A,
        B.repeat(H, 1),
        torch.randn(C, H, N, dtype=torch.float64),
        0.01 * torch.arange(1.0, H + 1).double(),
    )


@pytest.mark.parametrize("length", [1, 2, 5, 16, 33])
def test_dense_kernel_is_its_recurrence(length):
    A, B, C, dt = dense_system()
    K = dense_kernel(A, B, C, dt, length)
    torch.testing.assert_close(K, dense_kernel_ref(A, B, C, dt, length), rtol=1e-11, atol=1e-11)
    inputs = tuple(t.requires_grad_() for t in (A, B, C, dt))
    if length < 20:
        assert gradcheck(lambda *p: dense_kernel(*p, length), inputs)


def test_a_complex_dense_system_is_the_low_rank_one_with_its_conjugates():
    A, P, B, C, dt = system(R=2)
    B_full, C_full, P_full = (torch.cat([t, t.conj()], -1) for t in (B, C, P))
    dense = torch.diag_embed(torch.cat([A, A.conj()], -1)) - torch.einsum(
        "rhm,rhn->hmn", P_full, P_full.conj()
    )
    expected = dplr_kernel(A, P, B, C, dt, 20)
    K = dense_kernel(dense, B_full, C_full, dt, 20)
    assert (K - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("length", [1000, 16384])
def test_dense_float32_is_within_2e_5_of_float64(length):
    A, B = hippo("legs", 64)
    dt = torch.tensor([0.001, 0.01, 0.1])
    A, B = A.float().repeat(3, 1, 1), B.float().repeat(3, 1)
    C = torch.randn(1, 3, 64)
    K64 = dense_kernel(A.double(), B.double(), C.double(), dt.double(), length)
    K32 = dense_kernel(A, B, C, dt, length)
    assert ((K32 - K64).abs().amax(-1) < 2e-5 * K64.abs().amax(-1)).all()


@pytest.mark.parametrize("kernel", [dplr_kernel, cauchy_kernel])
def test_steps_that_vanish_give_no_nan(kernel):
    A, P, B, C, _ = system(H=3)
    dt = torch.tensor([1e-6, 1e-3, 1e4])
    inputs = [t.to(torch.complex64).requires_grad_() for t in (A, P, B, C)]
    dt.requires_grad_()
    K = kernel(*inputs, dt, 16)
    assert K.isfinite().all()
    K.sum().backward()
    assert all(t.grad.isfinite().all() for t in (*inputs, dt))


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("length", [1, 15, 16, 77])
def test_of_many_states_more_powers_stay_sparse(length, truncated):
    """Of 80 states 16 steps are taken before anything is squared, not 8."""
    A, P, B, C, dt = system(H=1, n=40, C=1)
    leaves = [t.requires_grad_() for t in (A, P, B, C, dt)]
    expected = by_definition(A, P, B, C, dt, length)
    given = C
    if truncated:
        given = truncate(C, dplr_discretize(A, P, B, dt)[0], length)
    K = (krylov_kernel if truncated else dplr_kernel)(A, P, B, given, dt, length)
    torch.testing.assert_close(K, expected, rtol=1e-9, atol=1e-9)
    weight = torch.randn_like(K)
    ours = torch.autograd.grad((K * weight).sum(), leaves)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("N", [128, 256])
def test_many_undamped_states_are_within_2e5_in_single_precision(N):
    A, P, B = (t.to(torch.complex64) for t in nplr("fout", N)[:3])
    C = torch.randn(1, 1, N // 2, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    inputs = (A[None], P[:, None], B[None], C, torch.tensor([0.1]))
    wide = (t.to(torch.promote_types(t.dtype, torch.float64)) for t in inputs)
    exact = dplr_kernel(*wide, 16384)
    K = dplr_kernel(*inputs, 16384)
    assert (K - exact).abs().max() < 2e-5 * exact.abs().max()
