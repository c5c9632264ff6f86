"""The DPLR kernel from C~ on the FFT nodes: S4's own algorithm, with FFTs in place of Cauchy sums.

The truncated generating function is K^(omega) = C~ (I - omega A_bar)^-1 B_bar, and Woodbury's
formula makes it a few sums over the modes, sum_n v_n / (1 - omega d_n) with d the diagonal of the
discrete system.  At the nodes omega^L = 1 such a sum is the DFT of the kernel of a *diagonal*
system, sum_n v_n / (1 - d_n^L) d_n^l for l < L, which two small tables give (see vandermonde.py):
O(N sqrt(L)) exponentials and real matrix products, where S4 evaluates N L / 2 fractions for each.
There is no node at which anything is divided by zero, and no complex table.

Source: S4, arXiv:2111.00396, appendix C.3; the sums by FFT are our own.
"""

from __future__ import annotations

import math

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import LOWEST_LOG, discretize, per_mode
from .dplr import dplr_discretize, krylov_kernel
from .inputs import kernel_length
from .operator import Operator, opaque
from .plain import plain_closed_loop
from .precision import full_precision
from .vandermonde import power_sums, power_sums_backward

# Sums in float32 are within 1.2e-5 of float64 from this length on, up to this many states.
NARROW_LENGTH, NARROW_STATES = 512, 64
# Steps per state beyond which Krylov is faster (benchmarks/README.md).
LONGEST_NARROW, LONGEST = 128, 32
# Numbers in the kernels of one block of features: 4 MB in float32.
BLOCK = 1 << 20


def truncated_dplr_kernel(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C_tilde: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
    *,
    is_damped: bool = False,
) -> Float[Tensor, "C H L"]:
    """The kernel of `dplr_kernel` for C~ = C (I - A_bar^length), the tensor that S4 trains.

    is_damped: -Re A is not small against 1 (as in LegS, not in the Fourier inits).  Next to
    undamped modes Woodbury's formula is a difference of large numbers, and so it is a little in
    short kernels and with many modes: the sums are then made in float64, which takes twice as long.
    Krylov serves where it is faster: it costs N^2 log L a feature, the FFTs N^1/2 L.
    length >= 1; one with a large prime factor makes the FFTs slow.
    Source: S4, arXiv:2111.00396, appendix C.3.
    """
    N, length = 2 * A.shape[-1], kernel_length(A, C_tilde, length)
    is_narrow = is_damped and N <= NARROW_STATES and length >= NARROW_LENGTH
    if length > N * (LONGEST_NARROW if is_narrow else LONGEST):
        return krylov_kernel(A, P, B, C_tilde, dt, length)
    return cauchy_kernel(A, P, B, C_tilde, dt, length, is_narrow=is_narrow)


@full_precision
def cauchy_kernel(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C_tilde: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
    *,
    is_narrow: bool = False,
) -> Float[Tensor, "C H L"]:
    """`truncated_dplr_kernel` by FFTs at any length; is_narrow: sums in the dtype of C~."""
    K: Tensor = _cauchy_kernel(A, P, B, C_tilde, dt, length, is_narrow)
    return K


def truncated_dplr_kernel_ref(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C_tilde: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """The same in complex arithmetic over the whole (C + R, 1 + R, H, n, L) table at once.

    It divides by 1 + omega, so even lengths rely on rounding; use odd ones to compare.
    """
    channels, rank = C_tilde.shape[0], P.shape[0]
    step = per_mode(dt)
    k = torch.arange(length // 2 + 1, device=A.device)
    angle = -2 * math.pi * k.to(step.dtype) / length
    omega = torch.polar(torch.ones_like(angle), angle)
    z = 2 * (1 - omega) / (1 + omega)
    left, right = torch.cat([C_tilde, P.conj()]), torch.cat([B.unsqueeze(0), P])
    v = left.unsqueeze(1) * right * step
    w = (A * step).unsqueeze(-1)
    v = v.unsqueeze(-1)
    r = (v / (z - w) + v.conj() / (z - w.conj())).sum(-2)
    inner = torch.eye(rank, device=A.device) + r[channels:, 1:].permute(2, 3, 0, 1)
    solved = torch.linalg.solve(inner, r[channels:, :1].permute(2, 3, 0, 1))[..., 0]
    K_hat = r[:channels, 0] - torch.einsum("crhl,hlr->chl", r[:channels, 1:], solved)
    K: Tensor = torch.fft.irfft(K_hat * 2 / (1 + omega), n=length)
    return K


def _kernel(
    A: Tensor, P: Tensor, B: Tensor, C_tilde: Tensor, dt: Tensor, length: int, is_narrow: bool
) -> Tensor:
    """All that is done once per mode, in float64."""
    first, B_bar = dplr_discretize(A, P, B, dt)
    log_d, _ = discretize(A.to(torch.complex128), per_mode(dt).double(), "bilinear")
    re, im = log_d.real.clamp(min=LOWEST_LOG), log_d.imag
    left = torch.cat([C_tilde.to(torch.complex128).transpose(0, 1), first.right], 1)
    right = torch.cat([B_bar.unsqueeze(1), first.left], 1)
    repeated = -1 / torch.expm1(length * torch.complex(re, im))
    weight = left.unsqueeze(2) * (right * repeated.unsqueeze(1)).unsqueeze(1)
    dtype = C_tilde.real.dtype
    sums = dtype if is_narrow else torch.float64
    K: Tensor = _closed_loop(re, im, weight.real, weight.imag, length, sums)
    return K.transpose(0, 1).to(dtype)


def _forward(
    re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, length: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """K (H, C, L) of weights (H, C + R, 1 + R, n), and what the backward wants of the spectra."""
    H, rows, columns, _ = wr.shape
    omega = _nodes(length, dtype, re.device)
    K = re.new_empty(H, rows - columns + 1, length, dtype=dtype)
    spectra = omega.new_empty(H, rows, columns, len(omega))
    for block in _blocks(wr, length):
        of_re, of_im = (w[block].flatten(1, 2) for w in (wr, wi))
        k = power_sums(re[block], im[block], of_re, of_im, length, dtype)
        T = spectra[block]
        torch.fft.rfft(k, n=length, out=T.view(len(k), rows * columns, len(omega)))
        torch.fft.irfft(_eliminate(T, omega), n=length, out=K[block])
    return K, spectra


def _backward(
    dK: Tensor, re: Tensor, im: Tensor, wr: Tensor, wi: Tensor, spectra: Tensor, length: int,
    dtype: torch.dtype,
) -> tuple[Tensor, ...]:  # fmt: skip
    """irfft(g(rfft(k))) has the adjoint irfft(conj(g') rfft(dK)), as both are real."""
    found: list[tuple[Tensor, ...]] = []
    for block in _blocks(wr, length):
        dT = _eliminate_backward(torch.fft.rfft(dK[block], n=length), spectra[block])
        dk = torch.fft.irfft(dT.flatten(1, 2), n=length)
        of_re, of_im = (w[block].flatten(1, 2) for w in (wr, wi))
        found.append(power_sums_backward(dk, re[block], im[block], of_re, of_im, length, dtype))
    dre, dim, dwr, dwi = (torch.cat(parts) for parts in zip(*found, strict=True))
    return dre, dim, dwr.view_as(wr), dwi.view_as(wi)


def _nodes(length: int, dtype: torch.dtype, device: torch.device) -> Complex[Tensor, " F"]:
    """omega at the FFT nodes, from float64 angles."""
    angle = torch.arange(length // 2 + 1, dtype=torch.float64, device=device) * (2 / length)
    turn = torch.polar(torch.ones_like(angle), -math.pi * angle)
    return turn.to(torch.complex64 if dtype == torch.float32 else torch.complex128)


def _eliminate(T: Complex[Tensor, "H X Y F"], omega: Tensor) -> Complex[Tensor, "H C F"]:
    """K^ = T_CB + omega T_Cl (I - omega T_rl)^-1 T_rB, one rank at a time, in place.

    T keeps what the backward wants: of each rank its column x, its row y and, in the corner, s.
    No pivoting: each rank taken away leaves a stable system, whose determinants are not zero.
    """
    for r in range(T.shape[2] - 1, 0, -1):
        corner, x, y = T[:, -1, -1], T[:, :-1, r], T[:, -1, :r]
        s = corner.mul_(omega).sub_(1).neg_().reciprocal_().mul_(omega)
        T = T[:, :-1, :r].addcmul_((x * s.unsqueeze(1)).unsqueeze(2), y.unsqueeze(1))
    return T[:, :, 0]


def _eliminate_backward(
    G: Complex[Tensor, "H C F"], kept: Complex[Tensor, "H X Y F"]
) -> Complex[Tensor, "H X Y F"]:
    """The gradient of T from that of K^."""
    (H, X, Y, F), kept = kept.shape, kept.conj_physical()
    dT = kept.new_empty(H, X, Y, F)
    dT[:, : G.shape[1], 0] = G
    for r in range(1, Y):
        row = X - Y + r
        x, y, s = kept[:, :row, r], kept[:, row, :r], kept[:, row, r]
        through = dT[:, :row, :r] * s[:, None, None]
        dx = torch.mul(through, y.unsqueeze(1)).sum(2)
        dT[:, :row, r] = dx
        dT[:, row, :r] = (through * x.unsqueeze(2)).sum(1)
        dT[:, row, r] = (dx * x).sum(1).mul_(s)
    return dT


def _blocks(weight: Float[Tensor, "H X Y n"], length: int) -> list[slice]:
    H, rows, columns, _ = weight.shape
    step = max(1, BLOCK // (rows * columns * length)) if weight.device.type == "cpu" else H
    return [slice(h, min(h + step, H)) for h in range(0, H, step)]


_closed_loop = Operator(
    "closed_loop",
    "Tensor re, Tensor im, Tensor wr, Tensor wi, SymInt length, ScalarType dtype",
    "K, spectra",
    keep="re, im, wr, wi, spectra",
    forward=_forward,
    backward=_backward,
    plain=plain_closed_loop,
)
_cauchy_kernel = opaque(
    "cauchy_kernel",
    "Tensor A, Tensor P, Tensor B, Tensor C, Tensor dt, SymInt length, bool is_narrow",
    _kernel,
)
