"""A diagonal recurrence whose every step has a length of its own, with all features in and out.

A_bar and the gain of the input are made for a piece of time when it is scanned, and again in
backward: what is kept is the input, the steps and the states, so memory is B L P numbers.  Forming
B_bar for each step, as published code does, takes B L P H.

Source: S5, arXiv:2208.04933, section 6.3.
"""

from __future__ import annotations

from typing import Any

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import Discretization, discretize
from .interleaved import real_columns, real_rows
from .operator import Operator
from .pieces import Pieces, starts_of
from .plain import plain_irregular
from .scan import previous, scan_varying_


def irregular_scan(
    u: Float[Tensor, "B L H"],
    A: Complex[Tensor, " P"],
    B: Complex[Tensor, "P H"],
    C: Complex[Tensor, "H P"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, "B L P"],
    x0: Complex[Tensor, "B P"],
    discretization: Discretization,
    *,
    reverse: bool = False,
) -> tuple[Float[Tensor, "B L H"], Complex[Tensor, "B P"]]:
    """y = Re(C x) + D u, and the last state of x_k = A_bar_k x_(k-1) + gain_k B u_k; L >= 1.

    A_bar_k and gain_k are those of `discretize(A, dt[:, k])`.  reverse: x_k follows x_(k+1).
    """
    y, end = _irregular(u, A, real_columns(B), real_rows(C), D, dt, x0, discretization, reverse)
    return y, end


def _forward(u: Tensor, *given: Any) -> tuple[Tensor, ...]:
    A, B, C, D, dt, x0, discretization, reverse = given
    pieces = Pieces(u)
    y, room, result = torch.empty_like(u), pieces.buffer(u), pieces.buffer(u)
    x, state = u.new_empty(u.shape[0] * u.shape[1], B.shape[1]), x0
    for piece in pieces.in_order(reverse=reverse):
        here, inputs = x[pieces.rows(piece)], pieces.load(u, piece, room)
        X = pieces.complex_steps(torch.mm(inputs, B, out=here))
        log_A_bar, gain = discretize(A, dt[:, piece], discretization)
        state = _scan_(pieces, X.mul_(gain), log_A_bar.exp_(), piece, state, reverse)
        out = torch.mul(inputs, D, out=pieces.matrix(result, piece))
        pieces.store(out.addmm_(here, C), y, piece)
    return y, state.clone(), x


def _backward(dy: Tensor, dend: Tensor, *kept: Any) -> tuple[Tensor, ...]:
    u, A, B, C, D, dt, x0, x, discretization, reverse = kept
    pieces, zero = Pieces(u), torch.zeros_like(x0)
    inputs_room, given_room, result = (pieces.buffer(u) for _ in range(3))
    du, ddt = torch.empty_like(u), torch.empty_like(dt)
    dA, dB, dC, dD = (torch.zeros_like(t) for t in (A, B, C, D))
    carried, edge = dend, 0 if reverse else -1
    for piece in pieces.in_order(reverse=not reverse):
        rows = pieces.rows(piece)
        inputs, given = pieces.load(u, piece, inputs_room), pieces.load(dy, piece, given_room)
        dC.addmm_(x[rows].t(), given)
        g = pieces.complex_steps(given @ C.t())
        g[:, edge] += carried
        with torch.enable_grad():
            A_, dt_ = A.detach().requires_grad_(), dt[:, piece].detach().requires_grad_()
            log_A_bar, gain = discretize(A_, dt_, discretization)
            A_bar = log_A_bar.exp()
        back = A_bar.detach().conj().resolve_conj()
        # g_k = dx_k + conj(A_bar_(k+1)) g_(k+1): the coefficient belongs to the later step.
        first = _scan_(pieces, g, previous(back, zero, not reverse), piece, zero, not reverse)
        carried = first * back[:, -1 if reverse else 0]
        starts = starts_of(pieces, x, piece, x0, reverse=reverse)
        Bu = pieces.complex_steps(inputs @ B)
        along = (g * starts.conj(), g * Bu.conj())
        part, ddt[:, piece] = torch.autograd.grad((A_bar, gain), (A_, dt_), along)
        dA += part
        dBu = torch.view_as_real(g.mul_(gain.detach().conj())).flatten(0, 1).flatten(1)
        dB.addmm_(inputs.t(), dBu)
        out = pieces.matrix(result, piece)
        dD += torch.mul(given, inputs, out=out).sum(0)
        pieces.store(torch.mul(given, D, out=out).addmm_(dBu, B.t()), du, piece)
    return du, dA, dB, dC, dD, ddt, carried


def _scan_(
    pieces: Pieces, X: Tensor, a: Tensor, piece: slice, state: Tensor, reverse: bool
) -> Tensor:
    """Scan X (B, T, P) in place, which uses up a; the state that the next piece starts from."""
    states = scan_varying_(pieces.blocked(X, piece), pieces.blocked(a, piece), state, reverse)
    return states[:, 0, 0] if reverse else states[:, -1, -1]


def _shapes(u: Tensor, A: Tensor, B: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    x = u.new_empty(u.shape[0] * u.shape[1], B.shape[1])
    return torch.empty_like(u), torch.empty_like(rest[3]), x


_irregular = Operator(
    "irregular_scan",
    "Tensor u, Tensor A, Tensor B, Tensor C, Tensor D, Tensor dt, Tensor x0, "
    "str discretization, bool reverse",
    "y, end, x",
    keep="u, A, B, C, D, dt, x0, x",
    forward=_forward,
    backward=_backward,
    plain=plain_irregular,
    forward_shapes=_shapes,
    n_results=2,
)
