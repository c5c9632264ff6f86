"""S5: one diagonal system with all features in and out, by a scan over its states.

For a constant step everything is one fused operation that saves the input and the states: complex
products with B and C are real matrix products of interleaved parts.  Irregular steps discretise
each state at each step by a scalar on B u, so memory is linear in L P; forming B_bar for each step
would take L P H.

Source: S5, arXiv:2208.04933, section 3 and appendix B; irregular steps: section 6.3.
"""

from __future__ import annotations

from typing import Any

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import Discretization, discretize
from .operator import Operator
from .precision import full_precision
from .scan import blocked, linear_scan, previous, scan_constant_, unblocked


@full_precision
def mimo_scan(
    u: Float[Tensor, "B L H"],
    A: Complex[Tensor, " P"],
    B: Complex[Tensor, "P H"],
    C: Complex[Tensor, "H Q"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    discretization: Discretization = "zoh",
    conj_sym: bool = True,
    bidirectional: bool = False,
    x0: Complex[Tensor, "B P"] | None = None,
) -> Float[Tensor, "B L H"]:
    """y = (2) Re(C x) + D u with x_k = A_bar x_(k-1) + B_bar u_k and x_(-1) = x0.

    dt: (P,), the step of each state, or (B, L, P), where dt[:, k] is the time from step k - 1 to k.
    conj_sym: the states are one of each conjugate pair, hence the factor 2.
    bidirectional: Q = 2P, the second half of C reads x'_k = A_bar x'_(k+1) + B_bar u_k; with
    irregular steps its dt at k is the time from k to k + 1, and dt[:, 0] at the last.
    Source: S5, arXiv:2208.04933, eqs. (2), (6) and appendix G.
    """
    return mimo_scan_with_state(
        u, A, B, C, D, dt, discretization=discretization, conj_sym=conj_sym,
        bidirectional=bidirectional, x0=x0,
    )[0]  # fmt: skip


@full_precision
def mimo_scan_with_state(
    u: Float[Tensor, "B L H"],
    A: Complex[Tensor, " P"],
    B: Complex[Tensor, "P H"],
    C: Complex[Tensor, "H Q"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    discretization: Discretization = "zoh",
    conj_sym: bool = True,
    bidirectional: bool = False,
    x0: Complex[Tensor, "B P"] | None = None,
) -> tuple[Float[Tensor, "B L H"], Complex[Tensor, "B P"]]:
    """`mimo_scan` and the forward state after the last step (x0 itself if L = 0)."""
    u = u.to(D.dtype)
    if x0 is None:
        x0 = torch.zeros(u.shape[0], A.shape[0], dtype=A.dtype, device=u.device)
    if u.numel() == 0:
        return u, x0
    readout = _real_rows(C * (2 if conj_sym else 1))
    if dt.ndim == 1:
        log_A_bar, gain = discretize(A.to(torch.complex128), dt.double(), discretization)
        A_bar = log_A_bar.exp()
        B_bar = (gain.unsqueeze(-1) * B).to(B.dtype)
        y, end = _mimo(u, A_bar, _real_columns(B_bar), readout, D, x0, bidirectional)
        return y, end
    Bu = torch.view_as_complex((u @ _real_columns(B)).view(*u.shape[:2], -1, 2))
    states = []
    for reverse in (False, True) if bidirectional else (False,):
        step = dt.roll(-1, 1) if reverse else dt
        log_A_bar, gain = discretize(A, step, discretization)
        start = torch.zeros_like(x0) if reverse else x0
        states.append(linear_scan(log_A_bar.exp(), gain * Bu, start, reverse=reverse))
    x = torch.view_as_real(torch.cat(states, -1)).flatten(-2)
    return torch.addcmul(x @ readout, u, D), states[0][:, -1]


def mimo_scan_ref(
    u: Float[Tensor, "B L H"],
    A: Complex[Tensor, " P"],
    B: Complex[Tensor, "P H"],
    C: Complex[Tensor, "H Q"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    discretization: Discretization = "zoh",
    conj_sym: bool = True,
) -> Float[Tensor, "B L H"]:
    """One direction from zero, step by step, with B_bar formed at each step."""
    batch, length, _ = u.shape
    dt = dt.expand(batch, length, -1)
    x = torch.zeros(batch, A.shape[0], dtype=A.dtype, device=u.device)
    outputs = []
    for k in range(length):
        log_A_bar, gain = discretize(A, dt[:, k], discretization)
        B_bar = gain.unsqueeze(-1) * B
        x = log_A_bar.exp() * x + torch.einsum("bph,bh->bp", B_bar, u[:, k].to(B.dtype))
        outputs.append((x @ C.T).real * (2 if conj_sym else 1) + D * u[:, k])
    return torch.stack(outputs, 1)


def _real_columns(B: Complex[Tensor, "P H"]) -> Float[Tensor, "H P2"]:
    """u @ result is B u with real and imaginary parts interleaved."""
    return torch.view_as_real(B.resolve_conj()).permute(1, 0, 2).flatten(1)


def _real_rows(C: Complex[Tensor, "H Q"]) -> Float[Tensor, "Q2 H"]:
    """x @ result is Re(C x) for interleaved x."""
    return torch.stack([C.real, -C.imag], -1).permute(1, 2, 0).flatten(0, 1)


def _forward(
    u: Tensor, a: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, both: bool
) -> tuple[Tensor, ...]:
    """u (B, L, H), a (P,) complex128, B (H, 2P), C (2P or 4P, H), D, x0 -> y, end and states."""
    Bu = torch.view_as_complex((u @ B).view(*u.shape[:2], -1, 2))
    y, width, states = torch.mul(u, D), B.shape[1], []
    for reverse in (False, True) if both else (False,):
        start = torch.zeros_like(x0) if reverse else x0
        X = scan_constant_(blocked(Bu, reverse), a, start, reverse)
        x = unblocked(X, u.shape[1], reverse)
        y += torch.view_as_real(x).flatten(2) @ C[reverse * width : (reverse + 1) * width]
        states.append(x)
    return y, states[0][:, -1].clone(), states[0], states[1] if both else Bu[:0]


def _backward(dy: Tensor, dend: Tensor, *kept: Any) -> tuple[Tensor, ...]:
    u, a, B, C, D, x0, x, x_reverse, both = kept
    back, width = a.conj().resolve_conj(), B.shape[1]
    rows, flat = u.reshape(-1, u.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dC, da, zero = torch.empty_like(C), torch.zeros_like(a), torch.zeros_like(x0)
    gradients = []
    for reverse, states in ((False, x), (True, x_reverse))[: 1 + both]:
        part, ahead = slice(reverse * width, (reverse + 1) * width), not reverse
        torch.mm(torch.view_as_real(states).reshape(-1, width).T, flat, out=dC[part])
        dx = torch.view_as_complex((dy @ C[part].T).view(*states.shape, 2))
        if ahead:
            dx[:, -1] += dend
        g = unblocked(scan_constant_(blocked(dx, ahead), back, zero, ahead), u.shape[1], ahead)
        start = previous(states, zero if reverse else x0, reverse)
        da += (g * start.conj()).sum((0, 1)).to(a.dtype)
        gradients.append(g)
    dx0 = gradients[0][:, 0] * back.to(x.dtype)
    dBu = gradients[0] + gradients[1] if both else gradients[0].contiguous()
    real = torch.view_as_real(dBu).view(-1, width)
    du = torch.addmm(flat * D, real, B.T).view_as(u)
    return du, da, rows.T @ real, dC, (flat * rows).sum(0), dx0


_mimo = Operator(
    "mimo_scan",
    "Tensor u, Tensor a, Tensor B, Tensor C, Tensor D, Tensor x0, bool both",
    "y, end, x, x_reverse",
    keep="u, a, B, C, D, x0, x, x_reverse",
    forward=_forward,
    backward=_backward,
    n_results=2,
)
