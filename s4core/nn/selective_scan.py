"""The selective scan of Mamba-1 in chunks of time: memory linear in L * D, not in L * D * N.

x_t = exp(dt_t A) x_(t-1) + dt_t B_t u_t, y_t = C_t x_t, for D features with N real states each.
Forward keeps the states at the borders of chunks only; backward computes each chunk's again. In a
chunk every step is one fused multiply-add on a (B, D, N) slice that stays in cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s4core.ops.operator import Operator
from s4core.ops.plain import plain_selective_scan

CHUNK = 64


def selective_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (y (B, L, D), the state after the last step (B, D, N)).

    u, dt: (B, L, D), dt > 0; A: (D, N), negative; B, C: (B, L, N), shared by the features;
    x0: (B, D, N), zeros if None.
    Source: Mamba, arXiv:2312.00752, algorithm 2, with the Euler form of B of its code.
    """
    if x0 is None:
        x0 = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    y, last = _selective_scan(u, dt, A, B, C, x0)
    return y, last


def selective_scan_ref(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same by its definition, step by step."""
    x = u.new_zeros(u.shape[0], u.shape[2], A.shape[1]) if x0 is None else x0
    outputs = []
    for t in range(u.shape[1]):
        x, y = selective_step(u[:, t], dt[:, t], A, B[:, t], C[:, t], x)
        outputs.append(y)
    return torch.stack(outputs, 1), x


def selective_step(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """One step: u, dt (B, D), B, C (B, N), x (B, D, N) to the next x and y (B, D)."""
    decayed = torch.exp(dt[..., None] * A) * x
    x = torch.addcmul(decayed, (dt * u)[..., None], B[:, None])
    return x, torch.bmm(x, C[..., None])[..., 0]


def _states(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states of a chunk, both (T, B, D, N); u, dt, B come time-major."""
    decay = torch.exp(dt[..., None] * A)
    states = (dt * u)[..., None] * B[:, :, None]
    for t in range(u.shape[0]):
        x = torch.addcmul(states[t], decay[t], x, out=states[t])
    return decay, states


def _forward(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x0: Tensor
) -> tuple[Tensor, ...]:
    u, dt, B, C = (v.transpose(0, 1).contiguous() for v in (u, dt, B, C))
    borders, outputs, x = [x0], [], x0
    for s in _chunks(u.shape[0]):
        _, states = _states(u[s], dt[s], A, B[s], x)
        outputs.append(torch.einsum("tbdn,tbn->tbd", states, C[s]))
        x = states[-1].clone()
        borders.append(x)
    return torch.cat(outputs).transpose(0, 1), x, torch.stack(borders[:-1])


def _backward(dy: Tensor, dlast: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
    A, borders = kept[2], kept[6]
    u, dt, B, C, dy = (v.transpose(0, 1).contiguous() for v in (*kept[:2], *kept[3:5], dy))
    du, ddt, dB, dC = (torch.empty_like(v) for v in (u, dt, B, C))
    dA, g = torch.zeros_like(A), dlast
    for i, s in reversed(list(enumerate(_chunks(u.shape[0])))):
        decay, states = _states(u[s], dt[s], A, B[s], borders[i])
        dC[s] = torch.einsum("tbd,tbdn->tbn", dy[s], states)
        grad = dy[s][..., None] * C[s][:, :, None]
        for t in range(grad.shape[0] - 1, -1, -1):
            g = grad[t].add_(g)
            g = g * decay[t]
        # The gradient of dt_t A: what flows into x_t times the decayed state before it.
        before = torch.cat([borders[i][None], states[:-1]])
        exponent = grad * decay * before
        through = torch.einsum("tbdn,tbn->tbd", grad, B[s])
        dA += torch.einsum("tbdn,tbd->dn", exponent, dt[s])
        ddt[s] = torch.einsum("tbdn,dn->tbd", exponent, A) + through * u[s]
        du[s] = through * dt[s]
        dB[s] = torch.einsum("tbdn,tbd->tbn", grad, dt[s] * u[s])
    du, ddt, dB, dC = (v.transpose(0, 1) for v in (du, ddt, dB, dC))
    return du, ddt, dA, dB, dC, g


def _shapes(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    x0 = rest[1]
    return (
        torch.empty_like(u),
        torch.empty_like(x0),
        x0.new_empty(len(_chunks(u.shape[1])), *x0.shape),
    )


def _chunks(length: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


_selective_scan = Operator(
    "selective_scan",
    "Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor x0",
    "y, last, borders",
    keep="u, dt, A, B, C, x0, borders",
    forward=_forward,
    backward=_backward,
    plain=plain_selective_scan,
    forward_shapes=_shapes,
    n_results=2,
)
