"""The DPLR kernel from C~ on the FFT nodes: S4's own algorithm, without its singularity.

The truncated generating function is K^(omega) = C~ (I - A_bar omega)^-1 B_bar; Woodbury's formula
makes it a few Cauchy sums over the modes.  Written with cos and sin of half the node's angle
(float64 angles: nodes made in float32 cost three digits at L = 16384) nothing is divided by
1 + omega, and with conjugate pairs merged the sums are real matrix products with two real tables,
made block by block and made again in the backward.

Source: S4, arXiv:2111.00396, appendix C.3; the half-angle form is our own.
"""

from __future__ import annotations

import math

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import per_mode
from .dplr import krylov_kernel
from .operator import Operator, opaque
from .precision import full_precision

# Up to here the Cauchy form is faster: it costs L per mode, Krylov log2(L) N^2.
CAUCHY_LENGTH = 2048
# Numbers per table block: two tables of 512 KB in float32 stay in an L2 cache.
BLOCK = 1 << 17


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

    is_damped: |P|^2 is not much larger than -Re A (as for LegS, not for Fourier inits); up to 2048
    steps Cauchy sums then serve, which are 2.5 times faster.  Next to undamped modes Woodbury's
    formula is a difference of large numbers, and float32 keeps three digits of it; Krylov with C
    recovered serves there.  In float64 both agree to 1e-11.
    Source: S4, arXiv:2111.00396, appendix C.3.
    """
    if length <= CAUCHY_LENGTH and is_damped:
        return cauchy_kernel(A, P, B, C_tilde, dt, length)
    return krylov_kernel(A, P, B, C_tilde, dt, length)


@full_precision
def cauchy_kernel(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C_tilde: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """`truncated_dplr_kernel` by Cauchy sums at any length."""
    K: Tensor = _cauchy_kernel(A, P, B, C_tilde, dt, length)
    return K


def _kernel(A: Tensor, P: Tensor, B: Tensor, C_tilde: Tensor, dt: Tensor, length: int) -> Tensor:
    dtype, channels, rank = C_tilde.real.dtype, C_tilde.shape[0], P.shape[0]
    A, P, B, C = (t.to(torch.complex128) for t in (A, P, B, C_tilde))
    step = per_mode(dt).double()
    w = A * step
    left = torch.cat([C, P.conj()]).transpose(0, 1)
    right = torch.cat([B.unsqueeze(0), P]).transpose(0, 1)
    v = (left.unsqueeze(2) * (right * step.unsqueeze(1)).unsqueeze(1)).flatten(1, 2)
    V = torch.cat([v.real, (v * w.conj().unsqueeze(1)).real], 1).to(dtype)
    norm, real = w.real.square() + w.imag.square(), w.real.to(dtype)
    nodes = _nodes(length, A.device)
    S: Tensor = _cauchy_sums(V, norm, real, nodes)
    c, s = nodes[0].to(dtype), nodes[1].to(dtype)
    sums = _numerators(S, c, s).view(-1, channels + rank, 1 + rank, nodes.shape[-1])
    turn = torch.polar(torch.full_like(nodes[2], 2.0), nodes[2])
    K_hat = _woodbury(sums, channels, c) * turn.to(sums.dtype)
    K: Tensor = torch.fft.irfft(K_hat, n=length)
    return K.transpose(0, 1)


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


def _nodes(length: int, device: torch.device) -> Float[Tensor, "6 F"]:
    """c, s, angle, c^2, 4 s c and 4 s^2 of half the angle of each FFT node."""
    half = math.pi * torch.arange(length // 2 + 1, dtype=torch.float64, device=device) / length
    c, s = torch.cos(half), torch.sin(half)
    if length % 2 == 0:
        c[-1] = 0
    return torch.stack([c, s, half, c * c, 4 * s * c, 4 * s * s])


def _numerators(S: Float[Tensor, "2 H V2 F"], c: Tensor, s: Tensor) -> Complex[Tensor, "H V F"]:
    """sum_n (2 i s a_n - c b_n) (M1 + i M2) from the four real products."""
    s = 2 * s
    half = S.shape[2] // 2
    (a1, b1), (a2, b2) = ((S[i][:, :half], S[i][:, half:]) for i in (0, 1))
    return torch.complex(-s * a2 - c * b1, s * a1 - c * b2)


def _woodbury(r: Complex[Tensor, "H X Y F"], channels: int, c: Tensor) -> Complex[Tensor, "H C F"]:
    """r_CB - 2c r_CP (I + 2c r_QP)^-1 r_QB."""
    rank = r.shape[2] - 1
    CB, CP, QB = r[:, :channels, 0], r[:, :channels, 1:], r[:, channels:, 0]
    inner = 2 * c * r[:, channels:, 1:]
    if rank == 1:
        return CB - 2 * c * CP[:, :, 0] * QB / (1 + inner[:, 0])
    if rank == 2:
        p, q, s, t = inner[:, 0, 0] + 1, inner[:, 0, 1], inner[:, 1, 0], inner[:, 1, 1] + 1
        scale = 2 * c / (p * t - q * s)
        x, y = (t * QB[:, 0] - q * QB[:, 1]) * scale, (p * QB[:, 1] - s * QB[:, 0]) * scale
        return CB - CP[:, :, 0] * x.unsqueeze(1) - CP[:, :, 1] * y.unsqueeze(1)
    eye = torch.eye(rank, dtype=r.dtype, device=r.device)
    inner = inner.permute(0, 3, 1, 2) + eye
    solved = torch.linalg.solve(inner, (2 * c * QB).transpose(1, 2).unsqueeze(-1)).squeeze(-1)
    return CB - torch.einsum("hcrf,hfr->hcf", CP, solved)


def _tables(norm: Tensor, real: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """M1 + i M2 = 1 / (alpha - i beta), alpha = |w|^2 c^2 - 4 s^2, beta = 4 s c Re w.

    alpha is a difference that vanishes next to each mode's frequency, so it is made in float64.
    """
    alpha = torch.addcmul(-nodes[5], norm.unsqueeze(-1), nodes[3]).to(real.dtype)
    beta = real.unsqueeze(-1) * nodes[4].to(real.dtype)
    scale = torch.mul(alpha, alpha).addcmul_(beta, beta)
    scale.clamp_(min=torch.finfo(scale.dtype).tiny).reciprocal_()
    return alpha.mul_(scale), beta.mul_(scale)


def _forward(V: Tensor, norm: Tensor, real: Tensor, nodes: Tensor) -> tuple[Tensor]:
    """S[0] = V M1, S[1] = V M2 for V (H, 2V, n); the tables live for one block of features."""
    S = V.new_empty(2, V.shape[0], V.shape[1], nodes.shape[-1])
    for block in _blocks(V, nodes):
        M1, M2 = _tables(norm[block], real[block], nodes)
        torch.bmm(V[block], M1, out=S[0, block])
        torch.bmm(V[block], M2, out=S[1, block])
    return (S,)


def _backward(
    dS: Tensor, V: Tensor, norm: Tensor, real: Tensor, nodes: Tensor
) -> tuple[Tensor, ...]:
    dV, dnorm, dreal = torch.empty_like(V), torch.empty_like(norm), torch.empty_like(real)
    for block in _blocks(V, nodes):
        M1, M2 = _tables(norm[block], real[block], nodes)
        d1, d2 = dS[0, block], dS[1, block]
        dV[block] = torch.bmm(d1, M1.transpose(1, 2)).baddbmm_(d2, M2.transpose(1, 2))
        Vt = V[block].transpose(1, 2)
        g1, g2 = torch.bmm(Vt, d1), torch.bmm(Vt, d2)
        # M = 1 / (alpha - i beta) has dM/dalpha = -M^2 and dM/dbeta = i M^2.
        cross = (M1 * M2).mul_(-2)
        square = M2.mul_(M2).addcmul_(M1, M1, value=-1)
        dalpha = (g1 * square).addcmul_(g2, cross)
        dbeta = g1.mul_(cross).addcmul_(g2, square, value=-1)
        dnorm[block] = torch.matmul(dalpha, nodes[3].to(V.dtype))
        dreal[block] = torch.matmul(dbeta, nodes[4].to(V.dtype))
    return dV, dnorm, dreal, torch.zeros_like(nodes)


def _blocks(V: Tensor, nodes: Tensor) -> list[slice]:
    H, _, n = V.shape
    step = max(1, BLOCK // (n * nodes.shape[-1]))
    return [slice(h, min(h + step, H)) for h in range(0, H, step)]


_cauchy_sums = Operator(
    "cauchy_sums",
    "Tensor V, Tensor norm, Tensor real, Tensor nodes",
    "S",
    keep="V, norm, real, nodes",
    forward=_forward,
    backward=_backward,
)
_cauchy_kernel = opaque(
    "cauchy_kernel",
    "Tensor A, Tensor P, Tensor B, Tensor C, Tensor dt, SymInt length",
    _kernel,
)
