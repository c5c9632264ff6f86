"""Liquid-S4: the state matrix depends on the input, x_k = (A_bar + B_bar u_k) x_(k-1) + B_bar u_k.

`liquid_scan` is that recurrence, exact or cut off at products of `degree` inputs: causal, trainable
and steppable, for a diagonal A_bar; `dense_liquid_scan` for any other. What the published code
computes is in `liquid_published.py`.

Sources: Liquid-S4, arXiv:2209.12951, eqs. (5) to (9); the truncation by scans is our own.
"""

from __future__ import annotations

import torch

from ..shapes import Complex, Float, Inexact, Tensor
from .dense_scan import dense_scan
from .discretize import discretize, per_mode
from .inputs import common_dtype, want_shape
from .interleaved import real_column
from .precision import full_precision
from .scan import linear_scan


@full_precision
def liquid_scan(
    u: Float[Tensor, "B H L"],
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    degree: int | None = None,
) -> Float[Tensor, "B H L"]:
    """y_k = 2 Re(C x_k) + D u_k, A_bar and B_bar by the bilinear rule of the linear part.

    degree: None for the exact recurrence; p >= 1 keeps products of at most p inputs, as p linear
    scans z^p_k = A_bar z^p_(k-1) + B_bar u_k z^(p-1)_(k-1).  dt: (H,), (H, 1) or (H, n).
    y has the highest precision of u, B, C and D.
    Raises ValueError for a degree below 1 or a C of another shape.
    """
    y, _ = liquid_scan_with_state(u, A, B, C, D, dt, degree=degree)
    return y


@full_precision
def liquid_scan_with_state(
    u: Float[Tensor, "B H L"],
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    degree: int | None = None,
    x0: Complex[Tensor, "p B H n"] | None = None,
) -> tuple[Float[Tensor, "B H L"], Complex[Tensor, "p B H n"]]:
    """`liquid_scan` from a state, and the state after the last step.

    The state has one layer for each degree (one if exact).
    """
    if degree is not None and degree < 1:
        raise ValueError(f"need a degree >= 1, got {degree}.")
    (batch, H, L), n = u.shape, A.shape[-1]
    want_shape("C", C, "(H, n)", (H, n))
    A_bar, B_bar = liquid_discretize(A, B, dt)
    dtype, states_dtype = common_dtype(u, B, C, D)
    u, D, C, B_bar = u.to(dtype), D.to(dtype), C.to(states_dtype), B_bar.to(states_dtype)
    if x0 is None:
        x0 = torch.zeros(degree or 1, batch, H, n, dtype=states_dtype, device=u.device)
    if u.numel() == 0:
        return u, x0
    start = x0.flatten(2)
    Bu = (u.transpose(1, 2).unsqueeze(-1) * B_bar).flatten(2)
    if degree is None:
        x = linear_scan(A_bar.flatten().to(states_dtype) + Bu, Bu, start[0])
        end = x[:, -1:].transpose(0, 1)
    else:
        x, end = _cascade(A_bar.flatten(), Bu, start)
    y = 2 * torch.einsum("blhn,hn->bhl", x.view(batch, L, H, n), C).real
    return torch.addcmul(y, u, D.unsqueeze(-1)), end.reshape(-1, batch, H, n)


def liquid_step(
    u: Float[Tensor, "B H"],
    x: Complex[Tensor, "p B H n"],
    A_bar: Inexact[Tensor, " ..."],
    B_bar: Complex[Tensor, "H n"],
    *,
    exact: bool,
) -> Complex[Tensor, "p B H n"]:
    """One step of the state of `liquid_scan_with_state`; y = 2 Re(C sum_p x_p) + D u.

    A_bar: a complex diagonal (H, n), or dense (H, N, N) and real on [Re x, Im x].
    exact: the recurrence itself (p = 1) instead of its terms up to degree p.
    """
    b = B_bar * u.unsqueeze(-1)
    terms = x + 1 if exact else torch.cat([torch.ones_like(x[:1]), x[:-1]])
    return torch.addcmul(_moved(A_bar, x), b, terms)


def _moved(A_bar: Tensor, x: Tensor) -> Tensor:
    """A_bar x: a complex diagonal (H, n), or a dense real matrix (H, N, N) on [Re x, Im x]."""
    if A_bar.is_complex():
        return A_bar * x
    rows = torch.einsum("...hn,hmn->...hm", real_column(x), A_bar)
    return torch.complex(*(part.contiguous() for part in rows.chunk(2, -1)))


@full_precision
def dense_liquid_scan(
    u: Float[Tensor, "B H L"],
    A_bar: Float[Tensor, "H N N"],
    B_bar: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    *,
    degree: int | None,
    x0: Complex[Tensor, "p B H n"],
) -> tuple[Float[Tensor, "B H L"], Complex[Tensor, "p B H n"]]:
    """`liquid_scan_with_state` of a system whose A_bar is no diagonal, on [Re x, Im x].

    The factors A_bar + B_bar u_k do not commute, so the exact form goes one step after the other;
    a degree p is p scans (`dense_scan`).
    """
    if u.numel() == 0:
        return u, x0
    b = torch.einsum("bhl,hn->hbln", u.to(B_bar.real.dtype), B_bar)
    if degree is None:
        x, states = x0[0].transpose(0, 1), []
        for b_k in b.unbind(2):
            x = torch.addcmul(_moved(A_bar, x.transpose(0, 1)).transpose(0, 1), b_k, x + 1)
            states.append(x)
        total, ends = torch.stack(states, 2), x.unsqueeze(0)
    else:
        total, ends = _dense_cascade(A_bar, b, x0.transpose(1, 2))
    y = 2 * torch.einsum("hbln,hn->bhl", total, C).real
    return torch.addcmul(y, u, D.unsqueeze(-1)), ends.transpose(1, 2)


def _dense_cascade(A_bar: Tensor, b: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the degrees' states (H, B, L, n), and each one's last (p, H, B, n)."""
    total, ends, drive = torch.zeros_like(b), [], b
    for first in start:
        rows = dense_scan(A_bar, real_column(drive), real_column(first))
        z = torch.complex(*(part.contiguous() for part in rows.chunk(2, -1)))
        total = total + z
        ends.append(z[:, :, -1])
        drive = b * torch.cat([first.unsqueeze(2), z[:, :, :-1]], 2)
    return total, torch.stack(ends)


def symmetric_polynomials(
    u: Float[Tensor, "B H L"], degree: int, e0: Float[Tensor, "p B H"] | None = None
) -> Float[Tensor, "p B H L"]:
    """e_p(u_0 .. u_k), the sum of all products of p inputs up to k, for p = 1 .. degree.

    e0: their values before u (None is 0).
    """
    below, values = torch.ones_like(u), []
    for p in range(degree):
        e = torch.cumsum(u * below, -1)
        before = u.new_zeros(u.shape[:2]) if e0 is None else e0[p]
        e = e + before.unsqueeze(-1)
        below = torch.cat([before.unsqueeze(-1), e[..., :-1]], -1)
        values.append(e)
    return torch.stack(values)


def _cascade(a: Tensor, Bu: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the degrees' states, and each one's last."""
    z = linear_scan(a, Bu, start[0])
    total, ends = z, [z[:, -1]]
    for first, below in zip(start[1:], start[:-1], strict=True):
        before = torch.cat([below.unsqueeze(1), z[:, :-1]], 1)
        z = linear_scan(a, Bu * before, first)
        total = total + z
        ends.append(z[:, -1])
    return total, torch.stack(ends)


def liquid_scan_ref(
    u: Float[Tensor, "B H L"],
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    degree: int | None = None,
) -> Float[Tensor, "B H L"]:
    """The same, one step after the other."""
    A_bar, B_bar = liquid_discretize(A, B, dt)
    z = [u.new_zeros(*u.shape[:2], A.shape[-1]).to(A.dtype) for _ in range(degree or 1)]
    outputs = []
    for k in range(u.shape[-1]):
        b = B_bar * u[:, :, k].unsqueeze(-1)
        if degree is None:
            z = [(A_bar + b) * z[0] + b]
        else:
            z = [A_bar * z[p] + b * (z[p - 1] if p else 1) for p in range(degree)]
        outputs.append(2 * (C * sum(z)).sum(-1).real + D * u[:, :, k])
    return torch.stack(outputs, -1)


def liquid_discretize(
    A: Complex[Tensor, "H n"], B: Complex[Tensor, "H n"], dt: Float[Tensor, " ..."]
) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "H n"]]:
    """(A_bar, B_bar) of the linear part by the bilinear rule, in complex128."""
    log_A_bar, gain = discretize(A.to(torch.complex128), per_mode(dt).double(), "bilinear")
    return log_A_bar.exp(), gain * B.to(torch.complex128)
