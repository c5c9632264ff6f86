"""Kernels of diagonal systems: K[l] = 2 Re sum_n c_n z_n^l for all l < L, never an N x L table.

With l = i b + j and b near sqrt(L), z^l = z^(ib) z^j: two tables of N sqrt(L) exponentials and one
real matrix product per feature give all L values.  Phases are reduced in float64, because a float32
phase of l Im(A) dt is wrong by 1e-3 at l = 16384; the tables and the product are in the dtype asked
for.  Memory is O(N sqrt(L)) a feature instead of O(N L), which is what made the naive form slow.

Source of the kernel: S4D, arXiv:2206.11893, eq. (6); the two-level evaluation is our own.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import LOWEST_LOG, Discretization, discretize, per_mode
from .inputs import kernel_length
from .interleaved import from_interleaved, interleaved
from .operator import Operator, opaque
from .plain import plain_power_sums, plain_powers
from .precision import full_precision

TURN = 2 * math.pi
# Complex numbers in the tables of one block of features: 4 MB in float32.
BLOCK = 1 << 19


@full_precision
def diagonal_kernel(
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
    *,
    discretization: Discretization = "zoh",
) -> Float[Tensor, "C H L"]:
    """The convolution kernel K[l] = 2 Re sum_n C_n B_bar_n A_bar_n^l of a diagonal system.

    One of each conjugate pair of modes is kept.  dt: (H,) one step a feature, (H, 1), or (H, n) one
    a mode; dt > 0.  length >= 1.  The dtype of the result is that of C's real part; what is done
    once per mode is done in float64 in any case.
    Source: S4D, arXiv:2206.11893, eqs. (5) and (6).
    """
    length = kernel_length(A, C, length)
    if torch.compiler.is_compiling():
        return traced_kernel(A, B, C, dt, length, discretization=discretization)
    log_z, weight = _log_and_weight(A, B, C, dt, discretization)
    return vandermonde(log_z, weight, length, C.real.dtype)


def diagonal_kernel_ref(
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
    *,
    discretization: Discretization = "zoh",
) -> Float[Tensor, "C H L"]:
    """The same by the N x L table of powers in the dtype of the parameters: obvious and slow."""
    log_z, gain = discretize(A, per_mode(dt), discretization)
    powers = torch.exp(log_z.unsqueeze(-1) * torch.arange(length, device=A.device))
    return 2 * torch.einsum("chn,hnl->chl", C * (gain * B), powers).real


@full_precision
def vandermonde(
    log_z: Complex[Tensor, "H n"],
    weight: Complex[Tensor, "C H n"],
    length: int,
    dtype: torch.dtype,
) -> Float[Tensor, "C H L"]:
    """K[c, h, l] = 2 Re sum_n weight[c, h, n] exp(l log_z[h, n]), differentiable in both.

    log_z and weight come in complex128 and the tables and K are made in `dtype` (float32: error
    3e-7 of the largest value).  Re log_z may be positive as long as exp(length Re log_z) is finite.
    Raises ValueError if length < 1.
    """
    if length < 1:
        raise ValueError(f"need a kernel of at least one step, got {length=}.")
    real = log_z.real.clamp(min=LOWEST_LOG)
    w = weight.transpose(0, 1)
    K: Tensor = _vandermonde(real, log_z.imag, w.real, w.imag, length, dtype)
    return K.transpose(0, 1)


def traced_kernel(
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
    *,
    discretization: Discretization = "zoh",
) -> Float[Tensor, "C H L"]:
    """`diagonal_kernel` in operations that a compiler fuses.

    Each entry of the tables is its own exponential, which is more work than doubling them and, in a
    small model, far less to start.
    """
    dtype, modes = C.real.dtype, _modes(A, B, C, dt, discretization)
    log_z, weight = modes[0], modes[1:].transpose(0, 1)
    channels = weight.shape[1]
    b, blocks = split_length(length, channels)
    re, im = (part.unsqueeze(1) for part in log_z.unbind(-1))

    def table(steps: Tensor) -> tuple[Tensor, Tensor]:
        steps = steps.unsqueeze(-1)
        turns = im / TURN * steps
        angle = ((turns - torch.round(turns)) * TURN).to(dtype)
        size = torch.exp((re.clamp(min=LOWEST_LOG) * steps).to(dtype))
        return size * torch.cos(angle), size * torch.sin(angle)

    step = torch.arange(max(b, blocks), dtype=torch.float64, device=log_z.device)
    (Qr, Qi), (Zr, Zi) = table(step[:b]), table(step[:blocks] * b)
    wr, wi = ((2 * part).to(dtype).unsqueeze(2) for part in weight.unbind(-1))
    Zr, Zi = Zr.unsqueeze(1), Zi.unsqueeze(1)
    P = torch.cat([wr * Zr - wi * Zi, -(wr * Zi + wi * Zr)], -1).flatten(1, 2)
    K = torch.bmm(P, torch.cat([Qr, Qi], -1).transpose(1, 2))
    return K.view(len(K), channels, -1)[..., :length].transpose(0, 1)


def split_length(length: int, channels: int = 1) -> tuple[int, int]:
    """Block b (a power of two) and the number of blocks that cover length.

    b is near sqrt(channels length): every channel has a table of its own over the blocks.
    """
    b = 1 << math.ceil(math.log2(math.sqrt(channels * length)))
    return b, -(-length // b)


def mode_powers(
    log_z: Complex[Tensor, "H n"], count: int, dtype: torch.dtype
) -> Complex[Tensor, "H J n"]:
    """z^j for j < count in the complex type of `dtype`, differentiable in log_z (complex128), whose
    real part is finite."""
    powers: Tensor = _mode_powers(log_z.real, log_z.imag, count, dtype)
    return powers


def power_sums(
    re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, length: int, dtype: torch.dtype
) -> Float[Tensor, "H C L"]:
    """`vandermonde` without gradients; in float64 re, im (H, n) of log z and wr, wi (H, C, n)."""
    b, blocks = split_length(length, wr.shape[1])
    squares, weight = _squares(re, im, b, blocks, dtype), _complex(2 * wr, 2 * wi, dtype)
    K = weight.real.new_empty(len(re), wr.shape[1], blocks, b)
    for part in _parts(weight, b, blocks):
        Q, Z = _tables(squares[:, part], b, blocks)
        P = (weight[part].unsqueeze(2) * Z.unsqueeze(1)).conj_physical_().flatten(1, 2)
        torch.bmm(interleaved(P), interleaved(Q).transpose(1, 2), out=K[part].flatten(1, 2))
    return K.flatten(2)[..., :length]


def power_sums_backward(
    dK: Tensor, re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, length: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The gradients of re, im, wr and wi from dK (H, C, L)."""
    b, blocks = split_length(length, wr.shape[1])
    (H, C, n), pad = wr.shape, blocks * b - length
    dK = (torch.nn.functional.pad(dK, (0, pad)) if pad else dK).reshape(H, C * blocks, b)
    squares, weight = _squares(re, im, b, blocks, dtype), _complex(2 * wr, 2 * wi, dtype)
    i = torch.arange(blocks, dtype=dtype, device=re.device) * b
    sums = torch.stack([torch.ones_like(i), i])
    j = torch.arange(b, dtype=dtype, device=re.device).unsqueeze(0)
    dw, dlog = torch.empty_like(weight), torch.empty_like(weight[:, 0])
    for part in _parts(weight, b, blocks):
        Q, Z = _tables(squares[:, part], b, blocks)
        w = weight[part]
        P = (w.unsqueeze(2) * Z.unsqueeze(1)).conj_physical_().flatten(1, 2)
        dP = from_interleaved(torch.bmm(dK[part], interleaved(Q)))
        dQ = from_interleaved(torch.bmm(dK[part].transpose(1, 2), interleaved(P)))
        # P is the conjugate of w z^i: its gradient times z^i is the conjugate of w's.
        dP = dP.view(len(w), C, blocks, n).mul_(Z.unsqueeze(1)).conj_physical_()
        of_w, of_z = _weighted(sums, dP).unbind(2)
        dw[part] = of_w
        of_q = _weighted(j, dQ.mul_(Q.conj_physical_()))
        dlog[part] = (of_z * w.conj()).sum(1) + of_q[:, 0]
    dw = 2 * dw.to(torch.complex128)
    dlog = dlog.to(torch.complex128)
    return dlog.real, dlog.imag, dw.real, dw.imag


def _powers(re: Tensor, im: Tensor, count: int, dtype: torch.dtype) -> tuple[Tensor]:
    return (_doubled(_squares(re, im, count, 1, dtype), count),)


def _powers_backward(
    dQ: Tensor, re: Tensor, im: Tensor, Q: Tensor, count: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    j = torch.arange(count, dtype=Q.real.dtype, device=Q.device).unsqueeze(0)
    dlog = _weighted(j, dQ * Q.conj())[:, 0].to(torch.complex128)
    return dlog.real, dlog.imag


def _squares(re: Tensor, im: Tensor, b: int, blocks: int, dtype: torch.dtype) -> Tensor:
    """z^1, z^2, z^4, .. (levels, H, n), enough for both tables, with phases reduced in float64."""
    levels = max(1, (b * blocks - 1).bit_length())
    powers = (2.0 ** torch.arange(levels, dtype=torch.float64, device=re.device)).view(-1, 1, 1)
    turns = im / TURN * powers
    angle = (turns - torch.round(turns)) * TURN
    magnitude = torch.exp(re * powers)
    return _complex(magnitude * torch.cos(angle), magnitude * torch.sin(angle), dtype)


def _tables(squares: Tensor, b: int, blocks: int) -> tuple[Tensor, Tensor]:
    """z^j for j < b and z^(ib) for i < blocks, (H, j or i, n), by doubling."""
    level = b.bit_length() - 1
    return _doubled(squares[:level], b), _doubled(squares[level:], blocks)


def _doubled(squares: Tensor, count: int) -> Tensor:
    _, H, n = squares.shape
    table = squares.new_empty(H, count, n)
    table[:, 0] = 1
    have, level = 1, 0
    while have < count:
        more = min(have, count - have)
        torch.mul(table[:, :more], squares[level].unsqueeze(1), out=table[:, have : have + more])
        have, level = have + more, level + 1
    return table


def _weighted(sums: Tensor, x: Tensor) -> Tensor:
    """sum_i sums[s, i] x[..., i, n] for complex x, as a real product."""
    product = torch.matmul(sums, interleaved(x))
    return from_interleaved(product)


def _complex(re: Tensor, im: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.complex(re.to(dtype), im.to(dtype))


def _parts(weight: Tensor, b: int, blocks: int) -> list[slice]:
    """Slices of features whose tables fit in cache together."""
    H, C, n = weight.shape
    step = max(1, BLOCK // (n * (b + (1 + C) * blocks)))
    step = step if weight.device.type == "cpu" else H
    return [slice(h, min(h + step, H)) for h in range(0, H, step)]


_vandermonde = Operator(
    "vandermonde",
    "Tensor re, Tensor im, Tensor wr, Tensor wi, SymInt length, ScalarType dtype",
    "K",
    keep="re, im, wr, wi",
    forward=lambda *inputs: (power_sums(*inputs),),
    backward=power_sums_backward,
    plain=plain_power_sums,
)


_mode_powers = Operator(
    "mode_powers",
    "Tensor re, Tensor im, SymInt count, ScalarType dtype",
    "Q",
    keep="re, im, Q",
    forward=_powers,
    backward=_powers_backward,
    plain=plain_powers,
)


def _log_and_weight(
    A: Tensor, B: Tensor, C: Tensor, dt: Tensor, discretization: Discretization
) -> tuple[Tensor, Tensor]:
    """log z (H, n) and what multiplies its powers (C, H, n), in complex128."""
    log_z, gain = discretize(A.to(torch.complex128), per_mode(dt).double(), discretization)
    return log_z, C.to(torch.complex128) * (gain * B.to(torch.complex128))


def _stacked_modes(*inputs: Any) -> Tensor:
    log_z, weight = _log_and_weight(*inputs)
    return torch.view_as_real(torch.cat([log_z.unsqueeze(0), weight]))


# The complex part of a kernel, which a compiler cannot generate: (1 + C, H, n, [Re, Im]).
_modes = opaque(
    "diagonal_modes", "Tensor A, Tensor B, Tensor C, Tensor dt, str discretization", _stacked_modes
)
