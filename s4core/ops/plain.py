"""Each operation of `Operator` once more, composed of torch's own: for derivatives in forward mode.

The fast ones have a backward that is written by hand and nothing else. Under forward-mode
differentiation (torch.func.jvp, jacfwd, hessian) these stand in for them, which torch knows how to
differentiate in any order; they take tables of L numbers for each state, as naive code does.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from ..shapes import Tensor
from .discretize import discretize
from .interleaved import from_interleaved, interleaved


def is_forward_mode() -> bool:
    """Whether derivatives are taken in forward mode, in which these functions are to run."""
    return not torch.compiler.is_compiling() and forward_ad._current_level >= 0


def plain_powers(re: Tensor, im: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """z^j for j < count, (H, J, n), in the complex type of `dtype`."""
    steps = torch.arange(count, device=re.device)[:, None]
    powers = torch.exp(torch.complex(re, im)[:, None] * steps)
    return powers.to(torch.promote_types(dtype, torch.complex64))


def plain_power_sums(
    re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, length: int, dtype: torch.dtype
) -> Tensor:
    """2 Re sum_n w z^l, (H, C, L)."""
    powers = torch.exp(torch.complex(re, im)[..., None] * torch.arange(length, device=re.device))
    K: Tensor = 2 * (torch.complex(wr, wi) @ powers).real
    return K.to(dtype)


def plain_closed_loop(
    re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, length: int, dtype: torch.dtype
) -> Tensor:
    """The kernel of truncated sums with the low-rank feedback closed at the FFT nodes."""
    k = plain_power_sums(re, im, wr.flatten(1, 2), wi.flatten(1, 2), length, dtype)
    T = torch.fft.rfft(k).unflatten(1, wr.shape[1:3])
    angle = torch.arange(T.shape[-1], device=re.device, dtype=dtype) * (-2 * math.pi / length)
    omega = torch.polar(torch.ones_like(angle), angle)
    for r in range(T.shape[2] - 1, 0, -1):
        s = omega / (1 - omega * T[:, -1, r])
        T = T[:, :-1, :r] + (T[:, :-1, r] * s[:, None])[:, :, None] * T[:, -1, None, :r]
    K: Tensor = torch.fft.irfft(T[:, :, 0], n=length)
    return K


def plain_krylov(
    E: Tensor, low: Tensor, rows: Tensor, B: Tensor, length: int, first: int, truncated: bool
) -> Tensor:
    """K (C, H, L): rows[j] (1 + E)^i B at l = i first + j, with B / (1 - A^length) if truncated."""
    x = B.unsqueeze(-1)
    if truncated:
        eye = torch.eye(E.shape[-1], dtype=torch.float64, device=E.device)
        whole = torch.linalg.matrix_power(eye + E.double(), length // first)
        whole = whole @ (eye + low.double()) if low.numel() else whole
        x = torch.linalg.solve(eye - whole, x.double()).to(E.dtype)
    columns = [x]
    for _ in range(1, -(-length // first)):
        columns.append(columns[-1] + E @ columns[-1])
    K = rows @ torch.cat(columns, -1).unsqueeze(1)  # (H, C, j, i)
    return K.transpose(2, 3).flatten(2)[..., :length].transpose(0, 1)


def plain_circular_conv(u: Tensor, k: Tensor, n: int, k_length: int) -> Tensor:
    """The first L values of u (H, B, L) convolved with k (C, H, .) on a circle of n."""
    product = torch.fft.rfft(u, n=n) * torch.fft.rfft(k, n=n).unsqueeze(2)
    y: Tensor = torch.fft.irfft(product, n=n)[..., : u.shape[-1]]
    return y


def plain_scan(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> Tensor:
    """x_k = a_k x_(k-1) + b_k (B, L, P) from x0, by doubling."""
    a = a.to(b.dtype).expand_as(b)
    if reverse:
        return plain_scan(a.flip(1), b.flip(1), x0, False).flip(1)
    x, step = torch.cat([b[:, :1] + a[:, :1] * x0[:, None], b[:, 1:]], 1), 1
    while step < x.shape[1]:
        x = torch.cat([x[:, :step], x[:, step:] + a[:, step:] * x[:, :-step]], 1)
        a = torch.cat([a[:, :step], a[:, step:] * a[:, :-step]], 1)
        step *= 2
    return x


def plain_mimo(
    u: Tensor, a: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, both: bool
) -> tuple[Tensor, Tensor]:
    """y and the last state of S5's scan; B and C are real, of interleaved parts."""
    Bu = from_interleaved(u @ B)
    x = plain_scan(a, Bu, x0, False)
    states = [interleaved(x)]
    if both:
        states.append(interleaved(plain_scan(a, Bu, torch.zeros_like(x0), True)))
    return torch.cat(states, -1) @ C + u * D, x[:, -1]


def plain_irregular(u: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    """The same with a step of its own for each input."""
    A, B, C, D, dt, x0, discretization, reverse = given
    log_A_bar, gain = discretize(A, dt, discretization)
    x = plain_scan(log_A_bar.exp(), gain * from_interleaved(u @ B), x0, reverse)
    return interleaved(x) @ C + u * D, x[:, 0 if reverse else -1]


def plain_chunk_scan(
    U: Tensor, T: Tensor, W: Tensor, R: Tensor, carry: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Y = U T + X R and the last state, with X[c + 1] = A^b X[c] + U[c] W, X[0] = x."""
    S, starts = U @ W.unsqueeze(1), []
    for more in S.unbind(2):
        starts.append(x)
        if carry.ndim == 3:
            moved = x @ carry.transpose(1, 2)
        elif carry.is_complex():
            moved = interleaved(from_interleaved(x) * carry.unsqueeze(1))
        else:
            moved = x * carry.unsqueeze(1)
        x = moved + more
    Y = U @ T.unsqueeze(1) + torch.stack(starts, 2) @ R.unsqueeze(1)
    return Y.flatten(1, 2), x


def plain_selective_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x0: Tensor
) -> tuple[Tensor, Tensor]:
    """Mamba-1's scan: y (B, L, D) and the last state (B, D, N)."""
    decay, drive = torch.exp(dt[..., None] * A), (dt * u)[..., None] * B[:, :, None]
    x = plain_scan(decay.flatten(2), drive.flatten(2), x0.flatten(1), False).view_as(drive)
    return (x @ C[..., None])[..., 0], x[:, -1]


def plain_carry(decay: Tensor, gained: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """The states of Mamba-2 before each chunk, and after the last."""
    starts = []
    for k in range(gained.shape[1]):
        starts.append(S)
        S = gained[:, k] + decay[:, k, :, None, None] * S
    return torch.stack(starts, 1), S
