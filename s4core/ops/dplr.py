"""Kernels of diagonal plus low-rank systems (S4): A = diag - sum_r P_r P_r^*, bilinear.

A vector is its half x (n complex numbers; the rest is the conjugate), a covector c acts on it as
2 Re(c x).  A_bar is then diag(d) + sum_r l_r <rho_r, .>, and so are its powers, with twice the rank
at each squaring: the first powers cost O(N) in float64, where errors matter most.  From A_bar^8 on
the matrix is dense and real, in the coordinates [Re x, Im x], where its norm is at most one.

Source: S4, arXiv:2111.00396, appendix C.2 (Woodbury) and C.3 (C~); the doubling is our own.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from ..shapes import Complex, Float, Tensor
from .chunk import ChunkTables
from .discretize import per_mode
from .inputs import kernel_length
from .interleaved import real_column
from .krylov import Powers, krylov_tables
from .operator import opaque
from .precision import full_precision
from .squaring import krylov

# A_bar^(2^3) is the first power that is squared as a dense matrix: its rank is 8 R, of N.
DENSE_LEVEL = 3


@full_precision
def dplr_kernel(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """The kernel of the bilinear discretisation of diag(A^) - sum_r P_r^ P_r^*.

    A hat appends the conjugate: half of the modes is given.  C is used as C x, never conjugated,
    and is the plain readout (not the C~ that S4 trains: see `truncated_dplr_kernel`).
    dt: (H,), (H, 1) or (H, n), dt > 0.  Source: S4, arXiv:2111.00396, eqs. (4), (5).
    """
    return _dplr_kernel(A, P, B, C, dt, kernel_length(A, C, length), False)


@full_precision
def krylov_kernel(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C_tilde: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """The kernel of the system whose C~ = C (I - A_bar^length) is given, by a solve."""
    return _dplr_kernel(A, P, B, C_tilde, dt, length, True)


def _kernel(
    A: Tensor, P: Tensor, B: Tensor, C: Tensor, dt: Tensor, length: int, truncated: bool
) -> Tensor:
    first, B_bar = dplr_discretize(A, P, B, dt)
    dtype, small = C.real.dtype, _small_powers(first)
    E = small[-1].dense().to(dtype)
    rows = _first_rows(C.to(torch.complex128), small).to(dtype)
    rest = length % rows.shape[2]
    low = E.new_zeros(0)
    if truncated and rest:
        low = Powers([power.dense for power in small], E.dtype, exact=0).product(rest)
    return krylov(E, rows, real_column(B_bar).to(dtype), length, low, truncated=truncated)


@full_precision
def dplr_tables(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    block: int,
) -> ChunkTables:
    """The tables of `chunk_scan` for the system of `dplr_kernel`; block is a power of two."""
    first, B_bar = dplr_discretize(A, P, B, dt)
    dtype, small = C.real.dtype, _small_powers(first)
    powers = Powers([power.dense for power in small], dtype, exact=0)
    rows = _first_rows(C.to(torch.complex128), small).to(dtype)
    return krylov_tables(powers, real_column(B_bar).to(dtype), rows, block)


def _small_powers(first: LowRank) -> list[LowRank]:
    """The powers 1, 2, 4, .. up to the first that is squared as a dense matrix."""
    small = [first]
    # Rounding errors of dense squares grow with N: one level more for each doubling beyond 64.
    doublings = math.ceil(math.log2(max(1.0, first.e.shape[1] / 32)))
    for _ in range(DENSE_LEVEL + doublings):
        small.append(small[-1].squared())
    return small


def _first_rows(C: Complex[Tensor, "C H n"], small: list[LowRank]) -> Float[Tensor, "H C J N"]:
    """The rows C A_bar^j for all j below the exponent of the last of the small powers."""
    rows = C.transpose(0, 1).unsqueeze(2)
    for power in small[:-1]:
        rows = torch.cat([rows, power.apply_rows(rows)], 2)
    return real_row(rows)


def untruncate(
    C_tilde: Complex[Tensor, "C H n"], first: LowRank, length: int
) -> Complex[Tensor, "C H n"]:
    """The plain C of C~ = C (I - A_bar^length), by a solve in float64; `truncate` undoes it.

    Source: S4, arXiv:2111.00396, appendix C.3.
    """
    power = Powers([first.dense], torch.float64).product(length)
    right = -real_row(C_tilde.to(torch.complex128)).permute(1, 2, 0)
    return complex_row(torch.linalg.solve(power.transpose(1, 2), right).permute(2, 0, 1))


def truncate(C: Complex[Tensor, "C H n"], first: LowRank, length: int) -> Complex[Tensor, "C H n"]:
    """C~ = C (I - A_bar^length) in complex128, the tensor that S4 trains."""
    power = Powers([first.dense], torch.float64).product(length)
    row = real_row(C.to(torch.complex128)).transpose(0, 1)
    return complex_row(-torch.bmm(row, power).transpose(0, 1))


@dataclasses.dataclass(frozen=True)
class LowRank:
    """A power of A_bar: x -> (1 + e) x + sum_r left_r 2 Re(right_r x), on half vectors."""

    e: Complex[Tensor, "H n"]
    left: Complex[Tensor, "H R n"]
    right: Complex[Tensor, "H R n"]

    def squared(self) -> LowRank:
        """The power of twice the exponent, with twice the rank."""
        d = (1 + self.e).unsqueeze(1)
        inner = _pairing(self.left, self.right)
        moved = torch.baddbmm(self.left * d, inner.to(self.left.dtype), self.left)
        return LowRank(
            self.e * (2 + self.e),
            torch.cat([moved, self.left], 1),
            torch.cat([self.right, self.right * d], 1),
        )

    def apply_rows(self, rows: Complex[Tensor, "H C J n"]) -> Complex[Tensor, "H C J n"]:
        """The covectors c A."""
        flat = rows.flatten(1, 2)
        inner = _pairing(flat, self.left).to(flat.dtype)
        moved = torch.baddbmm(flat * (1 + self.e).unsqueeze(1), inner, self.right)
        return moved.view_as(rows)

    def dense(self) -> Float[Tensor, "H N N"]:
        """The real matrix, less the identity, in coordinates [Re x, Im x]."""
        low_rank = torch.bmm(real_column(self.left).transpose(1, 2), real_row(self.right))
        H, N, _ = low_rank.shape
        k = torch.arange(N // 2, device=low_rank.device)
        here, there = k * (N + 1), k * (N + 1) + N // 2
        index = torch.cat([here, there, here + N // 2 * N, there + N // 2 * N])
        e = self.e
        values = torch.cat([e.real, -e.imag, e.imag, e.real], -1)
        return low_rank.view(H, N * N).index_add(1, index, values).view(H, N, N)


def dplr_discretize(
    A: Complex[Tensor, "H n"],
    P: Complex[Tensor, "R H n"],
    B: Complex[Tensor, "H n"],
    dt: Float[Tensor, " ..."],
) -> tuple[LowRank, Complex[Tensor, "H n"]]:
    """(A_bar, B_bar) by the bilinear rule and Woodbury's formula, in complex128.

    (I - W/2 + p P^*)^-1 = D - D p (I + P^* D p)^-1 P^* D, where D = (I - W/2)^-1, W = dt A and
    p = dt P / 2: with a step for each mode, dt scales the rows of A.
    Source: S4, arXiv:2111.00396, appendix C.2.
    """
    A, P, B = (t.to(torch.complex128) for t in (A, P, B))
    step = per_mode(dt).double()
    w = A * step
    D = 1 / (1 - w / 2)
    p = (P * step / 2).transpose(0, 1)
    left, right = p * D.unsqueeze(1), (P.conj() * D).transpose(0, 1)
    gram = _pairing(p, right).transpose(1, 2)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    right = torch.linalg.solve((eye + gram).to(right.dtype), right)
    first = LowRank(w * D, -2 * left, right)
    b = B * step
    B_bar = D * b - (_pairing(b.unsqueeze(1), right).to(b.dtype) @ left).squeeze(1)
    return first, B_bar


def _pairing(x: Complex[Tensor, "H X n"], y: Complex[Tensor, "H Y n"]) -> Float[Tensor, "H X Y"]:
    """2 Re sum_n x y, as one real product."""
    return torch.bmm(real_row(x), real_column(y).transpose(1, 2))


def real_row(c: Complex[Tensor, "*s n"]) -> Float[Tensor, "*s N"]:
    """The covector that gives 2 Re(c x) in coordinates [Re x, Im x]."""
    return torch.cat([2 * c.real, -2 * c.imag], -1)


def complex_row(c: Float[Tensor, "*s N"]) -> Complex[Tensor, "*s n"]:
    """The inverse of `real_row`."""
    n = c.shape[-1] // 2
    return torch.complex(c[..., :n] / 2, -c[..., n:] / 2)


_dplr_kernel = opaque(
    "dplr_kernel",
    "Tensor A, Tensor P, Tensor B, Tensor C, Tensor dt, SymInt length, bool truncated",
    _kernel,
)
