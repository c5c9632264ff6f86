"""K[l] = C A^l B of a dense matrix by one chain of squarings, with its own backward.

Rows C A^j and columns A^(ib) B are doubled with the powers as they come; their product is K.  For
S4's C~ = C (I - A^L) the inverse is applied to B instead of C (it commutes with A), so that its
backward is matrices of rank one.  All gradients of a power are added up in one buffer: autograd
would keep and add three N x N matrices a feature at each level.
"""

from __future__ import annotations

from typing import Any

import torch

from ..shapes import Float, Tensor
from .operator import Operator
from .plain import plain_krylov
from .vandermonde import split_length


def krylov(
    E: Float[Tensor, "H N N"],
    rows: Float[Tensor, "H C J N"],
    B: Float[Tensor, "H N"],
    length: int,
    low: Float[Tensor, " ..."] | None = None,
    *,
    truncated: bool = False,
) -> Float[Tensor, "C H L"]:
    """K[l] = C A^l B for l < length, from E = A^J - I and the rows C A^j, j < J (a power of two).

    truncated: the rows are those of C~ = C (I - A^length); low is then A^(length mod J) - I, or
    empty if that is zero.  Raises ValueError if length < 1.
    """
    if length < 1:
        raise ValueError(f"need a kernel of at least one step, got {length=}.")
    low = E.new_zeros(0) if low is None else low
    K: Tensor = _krylov(E, low, rows, B, length, rows.shape[2], truncated)
    return K


def _plan(first: int, length: int) -> tuple[int, int]:
    """(b, blocks): rows and columns of the two-level product."""
    b = max(split_length(length)[0], first)
    return b, -(-length // b)


def _factors(powers: Tensor, low: Tensor, first: int, length: int) -> list[tuple[int, Tensor]]:
    """The (level, A^e - I) whose product is A^length; level -1 is `low`."""
    found = [(-1, low)] if low.numel() else []
    high = length // first
    return found + [(i, powers[i]) for i in range(high.bit_length()) if high >> i & 1]


def _forward(
    E: Tensor, low: Tensor, rows: Tensor, B: Tensor, length: int, first: int, truncated: bool
) -> tuple[Tensor, ...]:
    H, C, _, N = rows.shape
    b, blocks = _plan(first, length)
    levels = (b // first).bit_length() - 1 + (blocks - 1).bit_length()
    if truncated:
        levels = max(levels, (length // first).bit_length())
    powers = E.new_empty(max(1, levels), H, N, N)
    powers[0] = E
    for before, after in zip(powers, powers[1:], strict=False):
        torch.baddbmm(before, before, before, beta=2, out=after)
    LU, pivots, x = E.new_zeros(0), torch.zeros(0, dtype=torch.int32, device=E.device), B
    if truncated:
        result: Tensor | None = None
        for _, F in _factors(powers, low, first, length):
            result = F if result is None else (result + F).baddbmm_(result, F)
        assert result is not None
        LU, pivots = torch.linalg.lu_factor(result.double())
        x = torch.linalg.lu_solve(LU, pivots, -B.double().unsqueeze(-1)).squeeze(-1).to(B.dtype)
    table = rows.new_empty(H, C, b, N)
    table[:, :, :first] = rows
    level, j = 0, first
    while j < b:
        known = table[:, :, :j].reshape(H, C * j, N)
        table[:, :, j : 2 * j] = torch.baddbmm(known, known, powers[level]).view(H, C, j, N)
        level, j = level + 1, 2 * j
    columns, have = B.new_empty(H, blocks, N), 1
    columns[:, 0] = x
    while have < blocks:
        known = columns[:, : min(have, blocks - have)]
        columns[:, have : have + known.shape[1]] = torch.baddbmm(
            known, known, powers[level].transpose(1, 2)
        )
        level, have = level + 1, 2 * have
    K = torch.matmul(columns, table.permute(1, 0, 3, 2)).flatten(2)[..., :length]
    return K, powers, table, columns, LU, pivots


def _backward(
    dK: Tensor, low: Tensor, B: Tensor, powers: Tensor, table: Tensor, columns: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    LU, pivots, length, first, truncated = rest
    H, C, b, N = table.shape
    blocks = columns.shape[1]
    dK = torch.nn.functional.pad(dK, (0, b * blocks - length)).view(C, H, blocks, b)
    dcolumns = torch.matmul(dK, table.transpose(0, 1)).sum(0)
    dtable = torch.matmul(dK.transpose(2, 3), columns).transpose(0, 1).contiguous()
    thin: Thin = [[] for _ in powers]
    _unroll_columns(powers, columns, dcolumns, thin, (b // first).bit_length() - 1)
    _unroll_rows(powers, table, dtable, thin, first)
    dB, dlow = dcolumns[:, 0], torch.zeros_like(low)
    if truncated:
        adjoint = torch.linalg.lu_solve(LU, pivots, dB.double().unsqueeze(-1), adjoint=True)
        dB = -adjoint.squeeze(-1).to(dK.dtype)
        dlow = _unroll_product(_factors(powers, low, first, length), dB, columns[:, 0], thin, dlow)
    G: Tensor | None = None
    for level in range(len(thin) - 1, -1, -1):
        if G is not None:
            Et = powers[level].transpose(1, 2)
            G = torch.baddbmm(G, G, Et, beta=2).baddbmm_(Et, G)
        for left, right in thin[level]:
            G = torch.bmm(left, right) if G is None else G.baddbmm_(left, right)
    dE = torch.zeros_like(powers[0]) if G is None else G
    return dE, dlow, dtable[:, :, :first], dB


# For each power, the pairs (H, N, k), (H, k, N) whose products are its own gradient.
Thin = list[list[tuple[Tensor, Tensor]]]


def _unroll_columns(
    powers: Tensor, columns: Tensor, dcolumns: Tensor, thin: Thin, first_level: int
) -> None:
    """Send the gradients of all columns back to the first, in place."""
    blocks = columns.shape[1]
    for t in range((blocks - 1).bit_length() - 1, -1, -1):
        have = 1 << t
        known = columns[:, : min(have, blocks - have)]
        grown = dcolumns[:, have : have + known.shape[1]]
        thin[first_level + t].append((grown.transpose(1, 2), known))
        dcolumns[:, : known.shape[1]] += torch.baddbmm(grown, grown, powers[first_level + t])


def _unroll_rows(powers: Tensor, table: Tensor, dtable: Tensor, thin: Thin, first: int) -> None:
    """Send the gradients of all rows back to the first ones, in place."""
    H, C, b, N = table.shape
    for level in range((b // first).bit_length() - 2, -1, -1):
        j = first << level
        known = table[:, :, :j].reshape(H, C * j, N)
        grown = dtable[:, :, j : 2 * j].reshape(H, C * j, N)
        thin[level].append((known.transpose(1, 2), grown))
        back = torch.baddbmm(grown, grown, powers[level].transpose(1, 2))
        dtable[:, :, :j] += back.view(H, C, j, N)


def _unroll_product(
    factors: list[tuple[int, Tensor]], u: Tensor, v: Tensor, thin: Thin, dlow: Tensor
) -> Tensor:
    """Gradients of the factors of A^L - I from its own, u v^T, all of rank one; returns low's."""
    before = [u.unsqueeze(-1)]
    for _, F in factors[:-1]:
        before.append(torch.baddbmm(before[-1], F.transpose(1, 2), before[-1]))
    row = v.unsqueeze(1)
    for (level, F), column in zip(reversed(factors), reversed(before), strict=True):
        if level < 0:
            dlow = torch.bmm(column, row)
        else:
            thin[level].append((column, row))
        row = torch.baddbmm(row, row, F.transpose(1, 2))
    return dlow


_krylov = Operator(
    "krylov",
    "Tensor E, Tensor low, Tensor rows, Tensor B, SymInt length, SymInt first, bool truncated",
    "K, powers, table, columns, LU, pivots",
    keep="low, B, powers, table, columns, LU, pivots",
    forward=_forward,
    backward=_backward,
    plain=plain_krylov,
)
