"""A linear recurrence over a sequence in blocks: state in, state out, and nothing of length L.

Inside a block of b steps the output is a product with a b x b Toeplitz matrix; between blocks only
the state is carried.  All work but the carry is real matrix products, there is no length-L kernel
and no FFT.  It continues from any state, which a convolution cannot, and at long L with few modes
it is faster than one (see benchmarks/README.md).

Source: the block decomposition of Mamba-2, arXiv:2405.21060, section 6, for fixed A, B, C.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import LOWEST_LOG, Discretization, discretize, per_mode
from .interleaved import from_interleaved, interleaved, real_column
from .operator import Operator
from .plain import plain_chunk_scan
from .precision import full_precision
from .vandermonde import mode_powers


@dataclasses.dataclass(frozen=True)
class ChunkTables:
    """A discretised system over a block of b steps, whose state is N real numbers.

    kernel: (C, H, b), C A^j B.  write: (H, b, N), row j is A^(b-1-j) B.  read: (C, H, N, b), column
    j is C A^(j+1).  carry(r): A^r as a diagonal, complex (H, N/2) or real (H, N), or as a dense
    real matrix (H, N, N) that acts on columns.
    interleaved: whether the carry is complex, for states Re, Im, Re, Im, ..; of a dense one the
    coordinates of a complex state are [Re, Im].
    """

    kernel: Tensor
    write: Tensor
    read: Tensor
    carry: Callable[[int], Tensor]
    interleaved: bool = False

    @property
    def block(self) -> int:
        """Steps in a block."""
        return self.write.shape[1]

    def shortened(self, r: int) -> ChunkTables:
        """The tables of the same system over a block of r < b steps."""
        return dataclasses.replace(
            self, kernel=self.kernel[..., :r], write=self.write[:, -r:], read=self.read[..., :r]
        )

    def coordinates(self, x: Tensor) -> Float[Tensor, "*s N"]:
        """A state in the coordinates of these tables, in which it is if it is real."""
        if not x.is_complex():
            return x
        return interleaved(x) if self.interleaved else real_column(x)

    def as_complex(self, x: Float[Tensor, "*s N"]) -> Complex[Tensor, "*s n"]:
        """The inverse of `coordinates` for a complex state."""
        if self.interleaved:
            return from_interleaved(x.contiguous())
        return torch.complex(*(half.contiguous() for half in x.chunk(2, -1)))


@full_precision
def chunk_scan(
    u: Float[Tensor, "B H L"],
    tables: ChunkTables,
    x: Tensor | None = None,
) -> tuple[Float[Tensor, "B D L"], Tensor]:
    """(y, state after the last step) of the system in `tables`, from state x (None is zero).

    x: (B, H, N/2) complex, or (B, H, N) in the coordinates of the tables; so is the last state,
    which is real if x is None.
    y has C * H features, channel-major.  L may be anything; the last block may be short.
    """
    B, H, L = u.shape
    channels, _, N, b = tables.read.shape
    u = u.to(tables.kernel.dtype)
    state = u.new_zeros(H, B, N) if x is None else tables.coordinates(x).transpose(0, 1)
    parts = []
    whole = L // b * b
    for start, stop, table in (
        (0, whole, tables),
        (whole, L, tables.shortened(L - whole) if whole < L else tables),
    ):
        if stop > start:
            y, state = _scan(u[..., start:stop], table, state)
            parts.append(y)
    end = state.transpose(0, 1)
    end = tables.as_complex(end) if x is not None and x.is_complex() else end
    if len(parts) == 1:
        return parts[0], end
    return torch.cat(parts, -1) if parts else u.new_zeros(B, channels * H, 0), end


@full_precision
def diagonal_tables(
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dt: Float[Tensor, " ..."],
    block: int,
    *,
    discretization: Discretization = "zoh",
) -> ChunkTables:
    """The tables of `chunk_scan` for the system of `vandermonde.diagonal_kernel`."""
    A, B = A.to(torch.complex128), B.to(torch.complex128)
    log_A_bar, gain = discretize(A, per_mode(dt).double(), discretization)
    return tables_of(log_A_bar, gain * B, C.to(torch.complex128), block, C.real.dtype)


def tables_of(
    log_A_bar: Complex[Tensor, "H n"],
    B_bar: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    block: int,
    dtype: torch.dtype,
) -> ChunkTables:
    """The tables, in `dtype`, of x_l = A_bar x_(l-1) + B_bar u_l, y_l = 2 Re(C x_l), diagonal."""
    wide = torch.promote_types(dtype, torch.complex64)
    log_z, B_bar, read = log_A_bar.to(torch.complex128), B_bar.to(wide), (2 * C).to(wide)
    log_z = torch.complex(log_z.real.clamp(min=LOWEST_LOG), log_z.imag)
    powers = mode_powers(log_z, block + 1, dtype)
    first, later = powers[:, :block], powers[:, 1:]
    kernel = interleaved(first) @ interleaved((read * B_bar).conj()).unsqueeze(-1)

    def carry(r: int) -> Tensor:
        return torch.exp(log_z * r).to(wide)

    return ChunkTables(
        kernel.squeeze(-1),
        interleaved((B_bar.unsqueeze(1) * first).flip(1)),
        interleaved((read.unsqueeze(2) * later).conj()).transpose(2, 3),
        carry,
        interleaved=True,
    )


def _scan(u: Tensor, tables: ChunkTables, state: Tensor) -> tuple[Tensor, Tensor]:
    (B, H, L), b = u.shape, tables.block
    channels = tables.read.shape[0]
    blocks = u.transpose(0, 1).reshape(H, B, L // b, b)
    within = torch.cat([_toeplitz(k) for k in tables.kernel], -1)
    read = torch.cat(list(tables.read), -1)
    Y, end = _chunk_scan(blocks, within, tables.write, read, tables.carry(b), state)
    # With one channel the result is Y itself, batch and features in memory as the blocks have them.
    y = Y.view(H, B, L // b, channels, b).permute(3, 0, 1, 2, 4)
    return y.reshape(channels * H, B, L).transpose(0, 1), end


def _toeplitz(k: Float[Tensor, "H b"]) -> Float[Tensor, "H b b"]:
    """T[j, i] = k[i - j] for i >= j, else 0: rows of inputs times T are rows of outputs."""
    b = k.shape[-1]
    rows = torch.cat([k, torch.zeros_like(k)], -1).repeat(1, b)
    return rows[:, : b * (2 * b - 1)].view(-1, b, 2 * b - 1)[..., :b]


def _states(x: Tensor, carry: Tensor) -> Tensor:
    """Rows of N real numbers in the form that `carry` multiplies."""
    return from_interleaved(x) if carry.is_complex() else x


def _carried(x: Tensor, carry: Tensor, more: Tensor, out: Tensor) -> Tensor:
    """A^b x + more for rows x (H, B, n), in `out`."""
    if carry.ndim == 2:
        return torch.addcmul(more, x, carry.unsqueeze(1), out=out)
    return out.copy_(torch.baddbmm(more, x, carry.transpose(1, 2)))


def _forward(
    U: Tensor, T: Tensor, W: Tensor, R: Tensor, carry: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Y = U T + X R with X[c + 1] = A^b X[c] + U[c] W, X[0] = x; Y, X after the last, all X.

    U (H, B, c, b), T (H, b, C b), W (H, b, N), R (H, N, C b), x (H, B, N).
    """
    H, B, blocks, b = U.shape
    flat = U.reshape(H, B * blocks, b)
    S = torch.bmm(flat, W).view(H, B, blocks, W.shape[2])
    X, end = torch.empty_like(S), torch.empty_like(x, memory_format=torch.contiguous_format)
    X[:, :, 0] = x
    from_, to, more = _states(X, carry), _states(end, carry), _states(S, carry)
    for c in range(blocks):
        here = from_[:, :, c + 1] if c + 1 < blocks else to
        _carried(from_[:, :, c], carry, more[:, :, c], here)
    Y = torch.bmm(flat, T).baddbmm_(X.view(H, B * blocks, W.shape[2]), R)
    return Y, end, X


def _backward(
    dY: Tensor, dx: Tensor, U: Tensor, T: Tensor, W: Tensor, R: Tensor, carry: Tensor, X: Tensor
) -> tuple[Tensor, ...]:
    H, B, blocks, b = U.shape
    flat, X_flat = U.reshape(H, B * blocks, b), X.view(H, B * blocks, X.shape[3])
    dY = dY.reshape(H, B * blocks, T.shape[2])
    G = torch.bmm(dY, R.transpose(1, 2)).view_as(X)
    back = carry.conj().resolve_conj() if carry.ndim == 2 else carry.transpose(1, 2)
    dS, first = torch.empty_like(G), torch.empty_like(dx, memory_format=torch.contiguous_format)
    dS[:, :, -1] = dx
    from_, to, more = _states(dS, carry), _states(first, carry), _states(G, carry)
    for c in range(blocks - 1, -1, -1):
        _carried(from_[:, :, c], back, more[:, :, c], from_[:, :, c - 1] if c else to)
    dS = dS.view_as(X_flat)
    dcarry = _carry_gradient(torch.bmm(dS.transpose(1, 2), X_flat), carry)
    dU = torch.bmm(dY, T.transpose(1, 2)).baddbmm_(dS, W.transpose(1, 2)).view_as(U)
    dT = torch.bmm(flat.transpose(1, 2), dY)
    dW = torch.bmm(flat.transpose(1, 2), dS)
    dR = torch.bmm(X_flat.transpose(1, 2), dY)
    return dU, dT, dW, dR, dcarry, first


def _carry_gradient(outer: Float[Tensor, "H N N"], carry: Tensor) -> Tensor:
    """That of A^b from sum_c dS[c] X[c]^T, of which a diagonal one has a part.

    The whole product is faster than the sum of elementwise ones that is wanted of it.
    """
    if carry.ndim == 3:
        return outer
    if not carry.is_complex():
        return outer.diagonal(dim1=1, dim2=2)
    n = carry.shape[1]
    (rr, ri), (ir, ii) = (
        row.unbind(1) for row in outer.view(-1, n, 2, n, 2).diagonal(dim1=1, dim2=3).unbind(1)
    )
    return torch.complex(rr + ii, ir - ri)


_chunk_scan = Operator(
    "chunk_scan",
    "Tensor U, Tensor T, Tensor W, Tensor R, Tensor carry, Tensor x",
    "Y, end, X",
    keep="U, T, W, R, carry, X",
    forward=_forward,
    backward=_backward,
    plain=plain_chunk_scan,
    n_results=2,
)
