"""The S5 scan: published outputs and gradients, its naive twin, irregular steps, pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops import pieces
from s4core.ops.mimo import mimo_scan, mimo_scan_ref, mimo_scan_with_state

GOLDEN = Path(__file__).parents[2] / "golden"


def tree(file, case):
    z = np.load(GOLDEN / file)
    prefix = f"{case}/"
    return {k[len(prefix) :]: torch.from_numpy(z[k]) for k in z.files if k.startswith(prefix)}


def complex_of(pair):
    return torch.complex(pair[..., 0].double(), pair[..., 1].double())


def leaves(case):
    names = ("Lambda_re", "Lambda_im", "B", "C", "C1", "C2", "D", "log_step")
    return {
        n: case[f"params/{n}"].double().requires_grad_() for n in names if f"params/{n}" in case
    }


def system(p):
    A = torch.complex(p["Lambda_re"], p["Lambda_im"])
    C = torch.cat([complex_of(p[n]) for n in ("C", "C1", "C2") if n in p], -1)
    return A, complex_of(p["B"]), C, p["D"], p["log_step"][:, 0].exp()


@pytest.mark.parametrize("name", ["zoh_uni_trunc", "bilinear_uni_lecun", "zoh_bi_trunc"])
def test_published_outputs_and_gradients(name):
    case = tree("s5_jax_part.npz", f"ssm/{name}")
    p = leaves(case)
    u = case["u"].double().requires_grad_()
    y = mimo_scan(u, *system(p), discretization=name.split("_")[0], bidirectional="_bi_" in name)
    torch.testing.assert_close(y, case["y64"], rtol=1e-12, atol=1e-12)
    (y * case["w"]).sum().backward()
    torch.testing.assert_close(u.grad, case["grad_u64"], rtol=1e-10, atol=1e-10)
    for key, value in p.items():
        torch.testing.assert_close(value.grad, case[f"grad64/{key}"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["uni_zoh", "bi_zoh", "uni_bilinear"])
def test_published_irregular_steps(name):
    case = tree("s5_pendulum.npz", name)
    A, B, C, D, dt = system(leaves(case))
    gaps = torch.cat([torch.ones(1).double(), case["integration_timesteps"]])
    y = mimo_scan(
        case["u"][None], A, B, C, D, (gaps[:, None] * dt)[None],
        discretization=name.split("_")[1], bidirectional=name.startswith("bi"),
    )  # fmt: skip
    torch.testing.assert_close(y[0], case["y64"], rtol=1e-12, atol=1e-12)


def inputs(B=2, L=7, H=3, P=2, Q=2, irregular=False):
    torch.manual_seed(0)
    c = torch.complex128
    A = torch.complex(-torch.rand(P).double(), 3 * torch.randn(P).double())
    dt = 0.1 + 0.1 * (torch.rand(B, L, P) if irregular else torch.rand(P)).double()
    return (
        torch.randn(B, L, H).double(), A, torch.randn(P, H, dtype=c), torch.randn(H, Q, dtype=c),
        torch.randn(H).double(), dt,
    )  # fmt: skip


@pytest.mark.parametrize("length", [1, 2, 7, 40])
@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("conj_sym", [False, True])
@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_fast_is_ref(length, irregular, conj_sym, discretization):
    p = inputs(L=length, irregular=irregular)
    how = {"conj_sym": conj_sym, "discretization": discretization}
    torch.testing.assert_close(mimo_scan(*p, **how), mimo_scan_ref(*p, **how))


@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients(irregular, bidirectional):
    p = inputs(L=5, Q=4 if bidirectional else 2, irregular=irregular)
    x0 = torch.randn(2, 2, dtype=torch.complex128)
    leaves = tuple(t.requires_grad_() for t in (*p, x0))
    assert gradcheck(
        lambda *p: mimo_scan_with_state(*p[:-1], x0=p[-1], bidirectional=bidirectional), leaves
    )


@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("time_innermost", [False, True])
def test_pieces_of_time_give_what_the_whole_gives(
    irregular, bidirectional, time_innermost, monkeypatch
):
    """150 steps are three pieces (64, 64, 16 of blocks and a rest of 6) or, on a GPU, one."""
    p = inputs(L=150, Q=4 if bidirectional else 2, irregular=irregular)
    x0 = torch.randn(2, 2, dtype=torch.complex128)
    results = []
    for rows in (1, 1 << 20):
        monkeypatch.setattr(pieces, "ROWS", rows)
        leaves = [t.clone().requires_grad_() for t in (*p, x0)]
        u, *rest = leaves
        if time_innermost:
            u = u.permute(2, 0, 1).contiguous().permute(1, 2, 0)
        y, end = mimo_scan_with_state(u, *rest[:-1], x0=rest[-1], bidirectional=bidirectional)
        assert y.stride() == u.stride()
        loss = (y * torch.sin(torch.arange(y.numel())).view_as(y)).sum() + end.abs().sum()
        results.append([y, end, *torch.autograd.grad(loss, leaves)])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("irregular", [False, True])
def test_pieces_with_a_carried_state_are_the_whole(irregular):
    u, A, B, C, D, dt = inputs(L=20, irregular=irregular)
    whole = mimo_scan(u, A, B, C, D, dt)
    x, parts = None, []
    for piece in (slice(0, 3), slice(3, 4), slice(4, 4), slice(4, 20)):
        y, x = mimo_scan_with_state(
            u[:, piece], A, B, C, D, dt[:, piece] if irregular else dt, x0=x
        )
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)


def test_float32_is_within_2e_5_of_float64():
    torch.manual_seed(0)
    P, H, L = 32, 8, 16384
    A = torch.complex(-0.5 * torch.ones(P), torch.pi * torch.arange(P).float())
    B = torch.randn(P, H, dtype=torch.complex64) / H**0.5
    C, D = torch.randn(H, P, dtype=torch.complex64) / P**0.5, torch.randn(H)
    dt, u = torch.logspace(-3, -1, P), torch.randn(1, L, H)
    wide = [
        t.to(torch.complex128 if t.is_complex() else torch.float64) for t in (u, A, B, C, D, dt)
    ]
    y64 = mimo_scan(*wide)
    assert (mimo_scan(u, A, B, C, D, dt) - y64).abs().max() < 2e-5 * y64.abs().max()
    irregular = mimo_scan(u, A, B, C, D, dt.expand(1, L, P))
    assert (irregular - y64).abs().max() < 2e-5 * y64.abs().max()


def test_autocast_does_not_reach_the_states():
    u, A, B, C, D, dt = (
        t.to(torch.complex64 if t.is_complex() else torch.float32) for t in inputs()
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mimo_scan(u.bfloat16(), A, B, C, D, dt)
    torch.testing.assert_close(y, mimo_scan(u.bfloat16().float(), A, B, C, D, dt), rtol=0, atol=0)
