"""Kernels of dense systems: K[l] = C A_bar^l B_bar by squaring, in two levels like a Vandermonde.

With l = i b + j, K = (C A_bar^j) (A_bar^(ib) B_bar): rows and columns are made by doubling, and one
real matrix product per feature gives all L values: log2(L) products of N x N matrices instead of L
of a matrix with a vector.  What is squared is E = A_bar - I: a slow system has A_bar near I, where
float32 would keep only the leading digits of what distinguishes them.  An error in the first power
is applied L times, one in the last only once, so the first squarings are made in float64.

Source: LSSL, arXiv:2110.13985, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..shapes import Float, Inexact, Tensor
from .chunk import ChunkTables
from .discretize import per_mode
from .inputs import kernel_length
from .operator import opaque
from .precision import full_precision
from .squaring import krylov

# Squarings of a dense matrix in float64, which costs four times float32: the error falls by 2^4.
EXACT_SQUARINGS = 4


@full_precision
def dense_kernel(
    A: Inexact[Tensor, "H N N"],
    B: Inexact[Tensor, "H N"],
    C: Inexact[Tensor, "C H N"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """The kernel Re(C A_bar^l B_bar) of the bilinear discretisation of a dense system.

    Real, or complex (a system with its conjugate modes), which takes four times the work.
    dt: (H,) or (H, 1), dt > 0.  Source: LSSL, arXiv:2110.13985, eq. (3) with alpha = 1/2.
    """
    length = kernel_length(A, C, length)
    if A.is_complex() or B.is_complex() or C.is_complex():
        A, B, C = _real_form(*(t.to(torch.promote_types(t.dtype, torch.cfloat)) for t in (A, B, C)))
    return _dense_kernel(A, B, C, dt, length)


def _real_form(A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The real system of [Re x, Im x] whose output is the real part."""
    rows = torch.cat([A.real, -A.imag], -1), torch.cat([A.imag, A.real], -1)
    return torch.cat(rows, -2), torch.cat([B.real, B.imag], -1), torch.cat([C.real, -C.imag], -1)


def _kernel(A: Tensor, B: Tensor, C: Tensor, dt: Tensor, length: int) -> Tensor:
    E, B_bar = dense_discretize(A, B, dt)
    powers, count = Powers([lambda: E], E.dtype), 1 << EXACT_SQUARINGS
    rows = rows_of(powers, C.to(E.dtype).transpose(0, 1).unsqueeze(2), count)
    return krylov(powers.get(count).to(C.dtype), rows.to(C.dtype), B_bar.to(C.dtype), length)


@full_precision
def krylov_matrix(
    A: Float[Tensor, "H N N"], B: Float[Tensor, "H N"], dt: Float[Tensor, " ..."], length: int
) -> Float[Tensor, "H N L"]:
    """A_bar^l B_bar for l < length, in float64: the part of a kernel that does not depend on C."""
    E, B_bar = dense_discretize(A, B, dt)
    return columns_of(Powers([lambda: E], E.dtype), B_bar, length).transpose(1, 2)


@full_precision
def dense_tables(
    A: Float[Tensor, "H N N"],
    B: Float[Tensor, "H N"],
    C: Float[Tensor, "C H N"],
    dt: Float[Tensor, " ..."],
    block: int,
) -> ChunkTables:
    """The tables of `chunk_scan` for the system of `dense_kernel`; block is a power of two."""
    E, B_bar = dense_discretize(A, B, dt)
    powers = Powers([lambda: E], C.dtype)
    return krylov_tables(powers, B_bar.to(C.dtype), C.transpose(0, 1).unsqueeze(2), block)


def dense_kernel_ref(
    A: Float[Tensor, "H N N"],
    B: Float[Tensor, "H N"],
    C: Float[Tensor, "C H N"],
    dt: Float[Tensor, " ..."],
    length: int,
) -> Float[Tensor, "C H L"]:
    """The same by L products of a matrix and a vector."""
    E, x = dense_discretize(A, B, dt)
    values = []
    for _ in range(length):
        values.append(torch.einsum("chn,hn->ch", C.double(), x))
        x = x + torch.einsum("hmn,hn->hm", E, x)
    return torch.stack(values, -1).to(C.dtype)


def dense_discretize(
    A: Float[Tensor, "H N N"], B: Float[Tensor, "H N"], dt: Float[Tensor, " ..."]
) -> tuple[Float[Tensor, "H N N"], Float[Tensor, "H N"]]:
    """(A_bar - I, B_bar) by the bilinear rule, in float64."""
    step = per_mode(dt).double().unsqueeze(-1)
    M = A.double() * step
    eye = torch.eye(A.shape[-1], dtype=M.dtype, device=M.device)
    right = torch.cat([M, B.double().unsqueeze(-1) * step], -1)
    solved = torch.linalg.solve(eye - M / 2, right)
    return solved[..., :-1], solved[..., -1]


class Powers:
    """A^e - I for e = 1, 2, 4, ..., each made once: the first from `small`, the others by squaring.

    small[i] gives A^(2^i) - I in float64.  Squares of powers below `exact` stay in float64.
    """

    def __init__(
        self,
        small: Sequence[Callable[[], Float[Tensor, "H N N"]]],
        dtype: torch.dtype,
        exact: int = 1 << EXACT_SQUARINGS,
    ) -> None:
        self.small, self.dtype, self.exact = small, dtype, exact
        self._made: dict[int, Tensor] = {}

    def get(self, exponent: int) -> Float[Tensor, "H N N"]:
        """A^exponent - I for a power of two, in the dtype asked for."""
        return self._get(exponent).to(self.dtype)

    def _get(self, exponent: int) -> Tensor:
        index = exponent.bit_length() - 1
        if exponent not in self._made:
            if index < len(self.small):
                self._made[exponent] = self.small[index]()
            else:
                E = self._get(exponent // 2)
                E = E if exponent // 2 < self.exact else E.to(self.dtype)
                self._made[exponent] = torch.baddbmm(E, E, E, beta=2)
        return self._made[exponent]

    def product(self, exponent: int) -> Float[Tensor, "H N N"]:
        """A^exponent - I for any exponent >= 1."""
        result: Tensor | None = None
        for bit in range(exponent.bit_length()):
            if exponent >> bit & 1:
                E = self.get(1 << bit)
                result = E if result is None else torch.baddbmm(result + E, result, E)
        assert result is not None, "need exponent >= 1"
        return result


def krylov_tables(
    powers: Powers, B: Float[Tensor, "H N"], rows: Float[Tensor, "H C J N"], block: int
) -> ChunkTables:
    """The tables of `chunk_scan` over a block of a power of two steps, from the same input."""
    rows = rows_of(powers, rows, block)[:, :, :block]
    columns = columns_of(powers, B, block)
    H, channels, _, N = rows.shape
    flat = rows.reshape(H, -1, N)
    read = torch.baddbmm(flat, flat, powers.get(1)).view_as(rows)
    kernel = torch.einsum("hcjn,hn->chj", rows, B)

    def carry(r: int) -> Tensor:
        return powers.product(r) + torch.eye(N, dtype=B.dtype, device=B.device)

    return ChunkTables(kernel, columns.flip(1), read.permute(1, 0, 3, 2), carry)


def rows_of(powers: Powers, rows: Float[Tensor, "H C J N"], count: int) -> Float[Tensor, "H C K N"]:
    """C A^j for j < count (a power of two), from the first J of them."""
    H, _, j, N = rows.shape
    while j < count:
        flat = rows.reshape(H, -1, N)
        more = torch.baddbmm(flat, flat, powers.get(j))
        rows = torch.cat([rows, more.view_as(rows)], 2)
        j *= 2
    return rows


def columns_of(powers: Powers, B: Float[Tensor, "H N"], count: int) -> Float[Tensor, "H J N"]:
    """A^j B for j < count."""
    columns = B.unsqueeze(1)
    while columns.shape[1] < count:
        have = columns.shape[1]
        known = columns[:, : min(have, count - have)]
        E = powers.get(have).transpose(1, 2)
        columns = torch.cat([columns, torch.baddbmm(known, known, E)], 1)
    return columns


_dense_kernel = opaque(
    "dense_kernel", "Tensor A, Tensor B, Tensor C, Tensor dt, SymInt length", _kernel
)
