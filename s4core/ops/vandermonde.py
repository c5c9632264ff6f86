"""Kernels of diagonal systems: K[l] = 2 Re sum_n c_n z_n^l for all l < L, never an N x L table.

With l = i b + j and b near sqrt(L), z^l = z^(ib) z^j: two tables of N sqrt(L) exponentials and one
real matrix product per feature give all L values.  Phases are reduced in float64, because a float32
phase of l Im(A) dt is wrong by 1e-3 at l = 16384; the tables and the product are in the dtype asked
for.  Memory is O(N sqrt(L)) a feature instead of O(N L), which is what made the naive form slow.

Source of the kernel: S4D, arXiv:2206.11893, eq. (6); the two-level evaluation is our own.
"""

from __future__ import annotations

import math

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import LOWEST_LOG, Discretization, discretize, per_mode
from .operator import Operator, opaque
from .precision import full_precision

TURN = 2 * math.pi


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
    return _diagonal_kernel(A, B, C, dt, length, discretization)


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


def split_length(length: int) -> tuple[int, int]:
    """Block b (a power of two near sqrt(length)) and the number of blocks that cover length."""
    b = 1 << math.ceil(math.log2(math.sqrt(length)))
    return b, -(-length // b)


def _table(re: Tensor, turns: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """exp(re + 2 pi i turns), as real and imaginary part; the inputs are float64 and consumed."""
    magnitude = re.to(dtype).exp_()
    angle = turns.sub_(torch.round(turns)).to(dtype).mul_(TURN)
    return magnitude * torch.cos(angle), magnitude.mul_(torch.sin(angle))


def _forward(
    re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, length: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Inputs in float64: re, im (H, n) of log z; wr, wi (H, C, n). Output (H, C, L), and tables."""
    H, C = len(re), wr.shape[1]
    b, blocks = split_length(length)
    j = torch.arange(b, dtype=torch.float64, device=re.device)
    i = torch.arange(blocks, dtype=torch.float64, device=re.device)[:, None] * b
    turns = im / TURN
    Q = torch.cat(_table(re.unsqueeze(-1) * j, turns.unsqueeze(-1) * j, dtype), 1)
    zr, zi = _table(re.unsqueeze(1) * i, turns.unsqueeze(1) * i, dtype)
    zr, zi = zr.unsqueeze(1), zi.unsqueeze(1)
    cr, ci = (2 * wr).to(dtype).unsqueeze(2), (2 * wi).to(dtype).unsqueeze(2)
    P = torch.cat([cr * zr - ci * zi, -(cr * zi + ci * zr)], -1)
    K = torch.bmm(P.flatten(1, 2), Q).view(H, C, blocks * b)
    return K[..., :length].contiguous(), P, Q, zr, zi


def _backward(
    dK: Tensor, P: Tensor, Q: Tensor, zr: Tensor, zi: Tensor, length: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    H, C, blocks, n2 = P.shape
    n, b = n2 // 2, Q.shape[-1]
    if blocks * b != length:
        dK = torch.nn.functional.pad(dK, (0, blocks * b - length))
    dK = dK.reshape(H, C * blocks, b)
    dP = torch.bmm(dK, Q.transpose(1, 2)).view_as(P)
    dQ = torch.bmm(P.view(H, C * blocks, n2).transpose(1, 2), dK)
    gr, gi = dP[..., :n], dP[..., n:]
    # P = [Re q, -Im q] with q = 2 w z: the second half carries the sign.
    dwr = 2 * (gr * zr).addcmul_(gi, zi, value=-1).sum(2)
    dwi = -2 * (gi * zr).addcmul_(gr, zi).sum(2)
    i = torch.arange(blocks, dtype=dtype, device=P.device) * b
    j = torch.arange(b, dtype=dtype, device=P.device)
    along = dP * P
    turning = (gr * P[..., n:]).addcmul_(gi, P[..., :n], value=-1)
    dre = torch.matmul(i, along[..., :n] + along[..., n:]).sum(1)
    dim = torch.matmul(i, turning).sum(1)
    along = dQ * Q
    dre += torch.matmul(along[:, :n] + along[:, n:], j)
    turning = (dQ[:, n:] * Q[:, :n]).addcmul_(dQ[:, :n], Q[:, n:], value=-1)
    dim += torch.matmul(turning, j)
    return dre.double(), dim.double(), dwr.double(), dwi.double()


_vandermonde = Operator(
    "vandermonde",
    "Tensor re, Tensor im, Tensor wr, Tensor wi, SymInt length, ScalarType dtype",
    "K, P, Q, zr, zi",
    keep="P, Q, zr, zi",
    forward=_forward,
    backward=_backward,
)


def _kernel(
    A: Tensor, B: Tensor, C: Tensor, dt: Tensor, length: int, discretization: Discretization
) -> Tensor:
    log_z, gain = discretize(A.to(torch.complex128), per_mode(dt).double(), discretization)
    weight = C.to(torch.complex128) * (gain * B.to(torch.complex128))
    return vandermonde(log_z, weight, length, C.real.dtype)


_diagonal_kernel = opaque(
    "diagonal_kernel",
    "Tensor A, Tensor B, Tensor C, Tensor dt, SymInt length, str discretization",
    _kernel,
)
