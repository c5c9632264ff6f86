"""The kernel of DSS: modes normalised over the sequence, so that any sign of Re A is stable.

K[l] = Re sum_n (W_n / A_n) exp(A_n dt l) / sum_(m < L) exp(A_n dt m).  A mode that grows is written
backwards in time, exp(-A_n dt (L - 1 - l)), so no exponential is larger than one; the sum has its
closed form with expm1.  No epsilon: the published code's 1e-7 changes the kernel by 4e-7.

Source: DSS, arXiv:2203.14343, proposition 1 and eq. (9).
"""

from __future__ import annotations

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import expm1_over, per_mode
from .inputs import kernel_length
from .operator import opaque
from .precision import full_precision
from .vandermonde import vandermonde


@full_precision
def dss_kernel(
    A: Complex[Tensor, "H n"],
    W: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
    *,
    horizon: int | None = None,
) -> Float[Tensor, "C H L"]:
    """The softmax kernel; W is the product of B and C, and there is no factor 2.

    dt: (H,), (H, 1) or (H, n).  horizon: the steps that the normaliser sums over, `length` itself
    if None; modes that grow should not be asked for more than that.
    """
    length = kernel_length(A, W, length)
    return _dss_kernel(A, W, dt, length, length if horizon is None else horizon)


def _kernel(A: Tensor, W: Tensor, dt: Tensor, length: int, horizon: int) -> Tensor:
    z, weight, grows = _weights(A, W, dt, horizon)
    dtype, none = W.real.dtype, torch.zeros_like(z)
    ahead = vandermonde(
        torch.where(grows, none, z), torch.where(grows, 0, weight / 2), length, dtype
    )
    # exp(z (l - horizon + 1)) backwards from the last step asked for.
    behind = torch.where(grows, weight / 2 * torch.exp(-z * (length - horizon)), 0)
    back = vandermonde(torch.where(grows, z, none), behind, length, dtype)
    return ahead + back.flip(-1)


def dss_kernel_ref(
    A: Complex[Tensor, "H n"],
    W: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """The same by the definition, which overflows where a mode grows past the dtype."""
    powers = torch.exp((A * per_mode(dt)).unsqueeze(-1) * torch.arange(length, device=A.device))
    normalised = powers / powers.sum(-1, keepdim=True)
    return torch.einsum("chn,hnl->chl", W / A, normalised).real


def dss_recurrence(
    A: Complex[Tensor, "H n"], dt: Float[Tensor, " ..."], horizon: int
) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "H n"]]:
    """(A_bar, B_bar) of x_l = A_bar x_(l-1) + B_bar u_l, y_l = Re(W x_l), in complex128.

    Modes that grow start tiny; they are right up to `horizon` steps and diverge beyond.
    """
    z, weight, grows = _weights(A, torch.ones_like(A), dt, horizon)
    log_A_bar = A.to(z.dtype) * per_mode(dt).double()
    return log_A_bar.exp(), torch.where(grows, weight * torch.exp(z * (horizon - 1)), weight)


def _weights(A: Tensor, W: Tensor, dt: Tensor, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    """z = +-A dt with Re z <= 0, W / A over the sum of exp(z m), and where the sign is minus."""
    A, W = A.to(torch.complex128), W.to(torch.complex128)
    z = A * per_mode(dt).double()
    grows = z.real > 0
    z = torch.where(grows, -z, z)
    return z, W / A * expm1_over(z) / (horizon * expm1_over(z * horizon)), grows


_dss_kernel = opaque(
    "dss_kernel", "Tensor A, Tensor W, Tensor dt, SymInt length, SymInt horizon", _kernel
)
