"""S5: one diagonal system with all features in and out, by a scan over its states.

For a constant step everything is one fused operation that saves the input and the states: complex
products with B and C are real matrix products of interleaved parts, and a piece of time goes
through all of them while it is in cache.  Irregular steps: see irregular.py.

Source: S5, arXiv:2208.04933, section 3 and appendix B; irregular steps: section 6.3.
"""

from __future__ import annotations

from typing import Any

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import Discretization, discretize
from .inputs import common_dtype, want_shape
from .interleaved import real_columns, real_rows
from .irregular import irregular_scan
from .operator import Operator
from .pieces import Pieces, starts_of
from .plain import plain_mimo
from .precision import full_precision
from .scan import powers_of, scan_constant_


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
    y has the highest precision of u, B, C and D.  Raises ValueError for shapes that do not fit.
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
    (batch, length, H), (states,) = u.shape, A.shape
    want_shape("C", C, "(H, P), or (H, 2 P) if bidirectional", (H, states * (1 + bidirectional)))
    dtype, states_dtype = common_dtype(u, B, C, D)
    u, D, B, readout = u.to(dtype), D.to(dtype), B.to(states_dtype), C.to(states_dtype)
    if x0 is None:
        x0 = torch.zeros(batch, states, dtype=states_dtype, device=u.device)
    x0 = x0.to(states_dtype)
    if u.numel() == 0:
        return u, x0
    readout = readout * (2 if conj_sym else 1)
    if dt.ndim < 2:
        log_A_bar, gain = discretize(A.to(torch.complex128), dt.double(), discretization)
        B_bar = (gain.unsqueeze(-1) * B).to(states_dtype)
        return state_scan(u, log_A_bar.exp(), B_bar, readout, D, x0, bidirectional=bidirectional)
    given = [(states,), (batch, length, states), (batch, length, 1)]
    want_shape("dt", dt, "(P,) or (B, L, P)", *given)
    directions = torch.split(readout, A.shape[0], -1)
    y, end = irregular_scan(u, A, B, directions[0], D, dt, x0, discretization)
    if bidirectional:
        dt, zero = dt.roll(-1, 1), torch.zeros_like(x0)
        back, _ = irregular_scan(
            u, A, B, directions[1], torch.zeros_like(D), dt, zero, discretization, reverse=True
        )
        y = y + back
    return y, end


def state_scan(
    u: Float[Tensor, "B L H"],
    A_bar: Complex[Tensor, " P"],
    B_bar: Complex[Tensor, "P H"],
    C: Complex[Tensor, "H Q"],
    D: Float[Tensor, " H"],
    x0: Complex[Tensor, "B P"],
    *,
    bidirectional: bool = False,
) -> tuple[Float[Tensor, "B L H"], Complex[Tensor, "B P"]]:
    """y = Re(C x) + D u and the last state of x_k = A_bar x_(k-1) + B_bar u_k; L >= 1.

    A_bar in complex128: its powers lose digits in any other.
    """
    y, end = _mimo(u, A_bar, real_columns(B_bar), real_rows(C), D, x0, bidirectional)
    return y, end


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


def _forward(
    u: Tensor, a: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, both: bool
) -> tuple[Tensor, ...]:
    """u (B, L, H), a (P,) complex128, B (H, 2P), C (2P or 4P, H), D, x0 -> y, end and states.

    States are matrices (B L, 2P), their rows in the order of `Pieces`.
    """
    pieces, width = Pieces(u), B.shape[1]
    y, room, result = torch.empty_like(u), pieces.buffer(u), pieces.buffer(u)
    x = u.new_empty(u.shape[0] * u.shape[1], width)
    x_reverse = u.new_empty(len(x) * both, width)
    powers, state = powers_of(a, pieces.block, x0.dtype), x0
    for piece in pieces.in_order():
        rows, inputs = pieces.rows(piece), pieces.load(u, piece, room)
        torch.mm(inputs, B, out=x[rows])
        if both:
            x_reverse[rows] = x[rows]
        state = _scan_(
            pieces.blocked(pieces.complex_steps(x[rows]), piece), powers, state, reverse=False
        )
        out = torch.mul(inputs, D, out=pieces.matrix(result, piece))
        pieces.store(out.addmm_(x[rows], C[:width]), y, piece)
    end, state = state.clone(), torch.zeros_like(x0)
    for piece in pieces.in_order(reverse=True) if both else ():
        rows = pieces.rows(piece)
        state = _scan_(
            pieces.blocked(pieces.complex_steps(x_reverse[rows]), piece),
            powers,
            state,
            reverse=True,
        )
        out = torch.mm(x_reverse[rows], C[width:], out=pieces.matrix(result, piece))
        y[:, piece] += pieces.steps(out)
    return y, end, x, x_reverse


def _backward(dy: Tensor, dend: Tensor, *kept: Any) -> tuple[Tensor, ...]:
    u, a, B, C, D, x0, x, x_reverse, both = kept
    pieces, width, zero = Pieces(u), B.shape[1], torch.zeros_like(x0)
    inputs_room, given_room, result = (pieces.buffer(u) for _ in range(3))
    scan_room = u.new_empty(pieces.longest_rows, width)
    powers = powers_of(a.conj().resolve_conj(), pieces.block, x0.dtype)
    du, dB, dC, dD, da = (torch.empty_like(u), *map(torch.zeros_like, (B, C, D, a)))
    dx0 = zero
    g_forward = torch.empty_like(x_reverse)
    for reverse in (False, True) if both else (False,):
        states, part = x_reverse if reverse else x, slice(reverse * width, (1 + reverse) * width)
        g, before, last = zero, zero if reverse else x0, reverse == both
        for piece in pieces.in_order(reverse=not reverse):
            rows, given = pieces.rows(piece), pieces.load(dy, piece, given_room)
            dC[part].addmm_(states[rows].t(), given)
            dx = torch.mm(given, C[part].t(), out=scan_room[: rows.stop - rows.start])
            if not reverse and piece.stop == u.shape[1]:
                pieces.complex_steps(dx)[:, -1] += dend
            g = _scan_(
                pieces.blocked(pieces.complex_steps(dx), piece), powers, g, reverse=not reverse
            ).clone()
            starts = starts_of(pieces, states, piece, before, reverse=reverse)
            da += starts.conj_physical_().mul_(pieces.complex_steps(dx)).sum((0, 1))
            if not last:
                g_forward[rows] = dx
                continue
            if both:
                dx += g_forward[rows]
            inputs = pieces.load(u, piece, inputs_room)
            dB.addmm_(inputs.t(), dx)
            out = pieces.matrix(result, piece)
            dD += torch.mul(given, inputs, out=out).sum(0)
            pieces.store(torch.mul(given, D, out=out).addmm_(dx, B.t()), du, piece)
        dx0 = dx0 if reverse else g * powers[0]
    return du, da, dB, dC, dD, dx0


def _scan_(X: Tensor, powers: Tensor, state: Tensor, *, reverse: bool) -> Tensor:
    """Scan X (B, c, b, P) in place; the state that the next piece starts from."""
    states = scan_constant_(X, powers, state, reverse)
    return states[:, 0, 0] if reverse else states[:, -1, -1]


def _shapes(
    u: Tensor, a: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, both: bool
) -> tuple[Tensor, ...]:
    x = u.new_empty(u.shape[0] * u.shape[1], B.shape[1])
    return torch.empty_like(u), torch.empty_like(x0), x, u.new_empty(len(x) * both, x.shape[1])


_mimo = Operator(
    "mimo_scan",
    "Tensor u, Tensor a, Tensor B, Tensor C, Tensor D, Tensor x0, bool both",
    "y, end, x, x_reverse",
    keep="u, a, B, C, D, x0, x, x_reverse",
    forward=_forward,
    backward=_backward,
    plain=plain_mimo,
    forward_shapes=_shapes,
    n_results=2,
)
