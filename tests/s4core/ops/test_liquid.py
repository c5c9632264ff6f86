"""Liquid-S4: the exact recurrence and its truncations; the published modes by their numbers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops.dense_scan import dense_scan
from s4core.ops.fftconv import fft_conv
from s4core.ops.liquid import (
    dense_liquid_scan,
    liquid_discretize,
    liquid_scan,
    liquid_scan_ref,
    liquid_scan_with_state,
    liquid_step,
    symmetric_polynomials,
)
from s4core.ops.liquid_published import (
    combination_indices,
    correlations,
    published_kb,
    published_polyb,
)

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "liquid_s4.npz")
# The published code broadcasts batch against channels there; nobody can want that.
CASES = sorted({k.split("/")[0] for k in GOLDEN.files if "channels2" not in k})


def inputs(B=2, H=2, n=2, L=7):
    torch.manual_seed(0)
    A = torch.complex(-torch.rand(H, n).double(), 3 * torch.randn(H, n).double())
    c = torch.complex128
    return (
        torch.randn(B, H, L).double(), A, torch.randn(H, n, dtype=c), torch.randn(H, n, dtype=c),
        torch.randn(H).double(), 0.1 + 0.1 * torch.rand(H).double(),
    )  # fmt: skip


@pytest.mark.parametrize("degree", [None, 1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 30])
def test_scans_are_the_recurrence(degree, length):
    p = inputs(L=length)
    tight = {"rtol": 1e-11, "atol": 1e-11}
    want = liquid_scan_ref(*p, degree=degree)
    torch.testing.assert_close(liquid_scan(*p, degree=degree), want, **tight)
    u, A, B, C, D, dt = p
    bars = liquid_discretize(A, B, dt)
    x, outputs = torch.zeros(degree or 1, 2, 2, 2, dtype=A.dtype), []
    for k in range(length):
        x = liquid_step(u[..., k], x, *bars, exact=degree is None)
        outputs.append(2 * (C * x.sum(0)).sum(-1).real + D * u[..., k])
    torch.testing.assert_close(torch.stack(outputs, -1), want, **tight)
    if length > 2:
        first, state = liquid_scan_with_state(u[..., :9], *p[1:], degree=degree)
        second, state = liquid_scan_with_state(u[..., 9:], *p[1:], degree=degree, x0=state)
        torch.testing.assert_close(torch.cat([first, second], -1), want, **tight)
        torch.testing.assert_close(state, x, **tight)


def test_the_degrees_add_up_to_the_exact_recurrence():
    p = inputs(L=12)
    torch.testing.assert_close(liquid_scan(*p, degree=12), liquid_scan(*p), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("degree", [None, 3])
def test_gradients_and_causality(degree):
    leaves = tuple(t.requires_grad_() for t in inputs(L=5))
    assert gradcheck(lambda *p: liquid_scan(*p, degree=degree), leaves)
    u = leaves[0]
    (g,) = torch.autograd.grad(liquid_scan(*leaves, degree=degree)[..., 2].sum(), u)
    assert (g[..., 3:] == 0).all() and (g[..., :3] != 0).all()


@pytest.mark.parametrize("name", CASES)
def test_published_modes(name):
    prefix = f"{name}/"
    z = {
        k[len(prefix) :]: torch.from_numpy(GOLDEN[k]) for k in GOLDEN.files if k.startswith(prefix)
    }
    u, K, H = z["u"], z["K"], 3
    A, B = (z[k].repeat(H // len(z[k]), 1) for k in ("w", "B"))
    dt = z["log_dt"].exp().unsqueeze(-1)
    b = dt * B / (1 - dt * A / 2)
    bidirectional = "bidir" in name
    y = fft_conv(u, K[:1], k_reverse=K[1:] if bidirectional else None) + z["D"].view(-1, 1) * u
    if not name.startswith("plain"):
        degree, every = int(name[-1]), "shift" not in name
        squash = next((s for s in ("tanh", "lecun") if s in name), "none")
        products = correlations(u, degree, all_combinations=every, squash=squash)
        if every:
            assert (combination_indices(u.shape[-1], degree) == z[f"idx_p{degree}"]).all()
        if "polyb" in name:
            y = y + published_polyb(b, z["C"], products, bidirectional=bidirectional)
        else:
            k = torch.cat([K[0], K[1].flip(-1)], -1) if bidirectional else K[0]
            y = y + published_kb(b, k, products)
    # The published numbers are float32, of outputs up to 8.
    torch.testing.assert_close(y, z["y"], rtol=1e-6, atol=2e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="degree >= 1"):
        liquid_scan(*inputs(), degree=0)
    with pytest.raises(ValueError, match="L >= degree \\+ 3"):
        correlations(torch.zeros(1, 1, 4), 2, all_combinations=True)


@pytest.mark.parametrize("length", [1, 2, 7, 16, 33])
def test_a_dense_scan_is_its_recurrence(length):
    torch.manual_seed(0)
    A = 0.5 * torch.randn(2, 4, 4).double()
    v, x = torch.randn(2, 3, length, 4).double(), torch.randn(2, 3, 4).double()
    states = dense_scan(A, v, x)
    for k in range(length):
        x = torch.einsum("hmn,hbn->hbm", A, x) + v[:, :, k]
        assert (states[:, :, k] - x).abs().max() < 1e-12 * states.abs().max()


@pytest.mark.parametrize("degree", [None, 1, 2, 3])
def test_a_dense_liquid_scan_is_its_recurrence_on_the_whole_state(degree):
    """With the conjugate modes beside their own, where the input acts on each state."""
    u, _, B_bar, C, D, _ = inputs(L=9)
    n = B_bar.shape[1]
    A_bar = 0.4 * torch.randn(2, 2 * n, 2 * n).double()
    x0 = torch.randn(degree or 1, 2, 2, n, dtype=torch.complex128)
    y, end = dense_liquid_scan(u, A_bar, B_bar, C, D, degree=degree, x0=x0)

    def moved(x):
        rows = torch.einsum("hmn,bhn->bhm", A_bar, torch.cat([x.real, x.imag], -1))
        return torch.complex(rows[..., :n], rows[..., n:])

    z = list(x0)
    for k in range(9):
        b = B_bar * u[:, :, k, None]
        if degree is None:
            z = [moved(z[0]) + b * z[0] + b]
        else:
            z = [moved(z[p]) + b * (z[p - 1] if p else 1) for p in range(degree)]
        expected = 2 * (C * sum(z)).sum(-1).real + D * u[:, :, k]
        assert (y[:, :, k] - expected).abs().max() < 1e-12 * y.abs().max()
    assert (end - torch.stack(z)).abs().max() < 1e-12 * end.abs().max()
    stepped = liquid_step(u[:, :, 0], x0, A_bar, B_bar, exact=degree is None)
    first, _ = dense_liquid_scan(u[..., :1], A_bar, B_bar, C, D, degree=degree, x0=x0)
    again = 2 * (C * stepped.sum(0)).sum(-1).real + D * u[:, :, 0]
    assert (first[..., 0] - again).abs().max() < 1e-12 * first.abs().max()


def test_symmetric_polynomials_are_sums_over_all_subsets():
    torch.manual_seed(0)
    u = torch.randn(1, 1, 7).double()
    e = symmetric_polynomials(u, 3)
    for p, k in itertools.product((1, 2, 3), range(7)):
        subsets = itertools.combinations(u[0, 0, : k + 1].tolist(), p)
        assert abs(e[p - 1, 0, 0, k] - sum(map(np.prod, subsets))) < 1e-12
    rest = symmetric_polynomials(u[..., 4:], 3, e[..., 3])
    assert (rest - e[..., 4:]).abs().max() < 1e-12
