"""A linear recurrence over a sequence in blocks: state in, state out, and nothing of length L.

Inside a block of b steps the output is a product with a b x b Toeplitz matrix; between blocks only
the state is carried.  All work but the carry is real matrix products, there is no length-L kernel
and no FFT.  It continues from any state, which a convolution cannot, and at long L with few modes
it is faster than one (1.4 to 2.8 times for N <= 16 from L = 1024).

Source: the block decomposition of Mamba-2, arXiv:2405.21060, section 6, for fixed A, B, C.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from ..shapes import Complex, Float, Tensor
from .discretize import LOWEST_LOG, Discretization, discretize, per_mode
from .operator import Operator
from .precision import full_precision


@dataclasses.dataclass(frozen=True)
class ChunkTables:
    """A discretised system over a block of b steps, in real coordinates of N numbers.

    kernel: (C, H, b), C A^j B.  write: (H, b, N), row j is A^(b-1-j) B.  read: (C, H, N, b), column
    j is C A^(j+1).  carry(r): A^r as a complex diagonal (H, N/2) for states [Re, Im], or as a dense
    real matrix (H, N, N) that acts on columns.
    """

    kernel: Tensor
    write: Tensor
    read: Tensor
    carry: Callable[[int], Tensor]

    @property
    def block(self) -> int:
        """Steps in a block."""
        return self.write.shape[1]

    def shortened(self, r: int) -> ChunkTables:
        """The tables of the same system over a block of r < b steps."""
        return ChunkTables(self.kernel[..., :r], self.write[:, -r:], self.read[..., :r], self.carry)


@full_precision
def chunk_scan(
    u: Float[Tensor, "B H L"],
    tables: ChunkTables,
    x: Float[Tensor, "B H N"] | None = None,
) -> tuple[Float[Tensor, "B D L"], Float[Tensor, "B H N"]]:
    """(y, state after the last step) of the system in `tables`, from state x (None is zero).

    y has C * H features, channel-major.  L may be anything; the last block may be short.
    """
    B, H, L = u.shape
    channels, _, N, b = tables.read.shape
    u = u.to(tables.kernel.dtype)
    state = u.new_zeros(H, B, N) if x is None else x.transpose(0, 1)
    parts = []
    whole = L // b * b
    for start, stop, table in (
        (0, whole, tables),
        (whole, L, tables.shortened(L - whole) if whole < L else tables),
    ):
        if stop > start:
            y, state = _scan(u[..., start:stop], table, state)
            parts.append(y)
    y = torch.cat(parts, -1) if parts else u.new_zeros(B, channels * H, 0)
    return y, state.transpose(0, 1)


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
    log_z = torch.complex(log_A_bar.real.clamp(min=LOWEST_LOG), log_A_bar.imag).unsqueeze(-1)
    powers = torch.exp(log_z * torch.arange(block + 1, device=log_z.device))
    write = (B_bar.unsqueeze(-1) * powers[..., :block]).flip(-1).transpose(1, 2)
    read = 2 * C.unsqueeze(-1) * powers
    kernel = (read[..., :block] * B_bar.unsqueeze(-1)).real.sum(2)
    read = torch.cat([read.real, -read.imag], 2)[..., 1:]

    def carry(r: int) -> Tensor:
        return torch.exp(log_z[..., 0] * r).to(torch.promote_types(dtype, torch.complex64))

    write = torch.cat([write.real, write.imag], -1)
    return ChunkTables(kernel.to(dtype), write.to(dtype), read.to(dtype), carry)


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
    i = torch.arange(b, device=k.device)
    lag = i[None, :] - i[:, None]
    index = torch.where(lag < 0, b, lag)
    return torch.cat([k, torch.zeros_like(k[:, :1])], -1)[:, index]


def _carried(x: Tensor, carry: Tensor) -> Tensor:
    """A^b x for rows x (H, B, N)."""
    if carry.is_complex():
        n = carry.shape[-1]
        re, im = carry.real.unsqueeze(1), carry.imag.unsqueeze(1)
        a, c = x[..., :n], x[..., n:]
        return torch.cat([a * re - c * im, a * im + c * re], -1)
    return torch.bmm(x, carry.transpose(1, 2))


def _forward(
    U: Tensor, T: Tensor, W: Tensor, R: Tensor, carry: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Y = U T + X R with X[c + 1] = A^b X[c] + U[c] W, X[0] = x; Y, X after the last, all X.

    U (H, B, c, b), T (H, b, C b), W (H, b, N), R (H, N, C b), x (H, B, N).
    """
    H, B, blocks, b = U.shape
    flat = U.reshape(H, B * blocks, b)
    S = torch.bmm(flat, W).view(H, B, blocks, -1)
    X = torch.empty_like(S)
    for c in range(blocks):
        X[:, :, c] = x
        x = _carried(x, carry).add_(S[:, :, c])
    Y = torch.bmm(flat, T).baddbmm_(X.view(H, B * blocks, -1), R)
    return Y, x, X


def _backward(
    dY: Tensor, dx: Tensor, U: Tensor, T: Tensor, W: Tensor, R: Tensor, carry: Tensor, X: Tensor
) -> tuple[Tensor, ...]:
    H, B, blocks, b = U.shape
    N = X.shape[-1]
    flat = U.reshape(H, B * blocks, b)
    dY = dY.reshape(H, B * blocks, -1)
    G = torch.bmm(dY, R.transpose(1, 2)).view(H, B, blocks, N)
    back = carry.conj().resolve_conj() if carry.is_complex() else carry.transpose(1, 2)
    dS = torch.empty_like(G)
    for c in range(blocks - 1, -1, -1):
        dS[:, :, c] = dx
        dx = _carried(dx, back).add_(G[:, :, c])
    dcarry = _carry_gradient(dS, X, carry)
    dS_flat = dS.view(H, B * blocks, N)
    dU = torch.bmm(dY, T.transpose(1, 2)).baddbmm_(dS_flat, W.transpose(1, 2)).view_as(U)
    dT = torch.bmm(flat.transpose(1, 2), dY)
    dW = torch.bmm(flat.transpose(1, 2), dS_flat)
    dR = torch.bmm(X.view(H, B * blocks, N).transpose(1, 2), dY)
    return dU, dT, dW, dR, dcarry, dx


def _carry_gradient(dS: Tensor, X: Tensor, carry: Tensor) -> Tensor:
    """sum over blocks of the gradient of A^b in A^b X."""
    if not carry.is_complex():
        return torch.einsum("hbcm,hbcn->hmn", dS, X)
    n = carry.shape[-1]
    dr, di, xr, xi = dS[..., :n], dS[..., n:], X[..., :n], X[..., n:]
    return torch.complex(
        (dr * xr).sum((1, 2)) + (di * xi).sum((1, 2)),
        (di * xr).sum((1, 2)) - (dr * xi).sum((1, 2)),
    )


_chunk_scan = Operator(
    "chunk_scan",
    "Tensor U, Tensor T, Tensor W, Tensor R, Tensor carry, Tensor x",
    "Y, end, X",
    keep="U, T, W, R, carry, X",
    forward=_forward,
    backward=_backward,
    n_results=2,
)
