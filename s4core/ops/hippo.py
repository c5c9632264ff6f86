"""HiPPO matrices and their normal-plus-low-rank form, in float64.

Every matrix is written once as numpy float64; `nplr` diagonalises the normal part with a Hermitian
eigensolver, whose eigenvectors are orthonormal to rounding (a general one loses six digits).

Sources: HiPPO, arXiv:2008.07669; S4, arXiv:2111.00396, appendix C; How to train your HiPPO,
arXiv:2206.12037 (Fourier and LegS-D families).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import nearest
from ..shapes import Complex, Float, Tensor

Matrix = NDArray[np.floating[Any]]
Pair = tuple[Matrix, Matrix]

ALIASES = {"fourier": "fout", "fourier_diag": "foud"}


def _legs(N: int) -> Pair:
    q = np.arange(N, dtype=np.float64)
    r = np.sqrt(2 * q + 1)
    return -np.tril(np.outer(r, r), -1) - np.diag(q + 1), r


def _legt(N: int) -> Pair:
    q = np.arange(N)
    r = np.sqrt(2.0 * q + 1)
    sign = np.where(q[None, :] <= q[:, None], 1.0, (-1.0) ** (q[:, None] - q[None, :]))
    return -0.5 * np.outer(r, r) * sign, 0.5 * r


def _lmu(N: int) -> Pair:
    q = np.arange(N)
    sign = np.where(q[:, None] < q[None, :], -1.0, (-1.0) ** (q[:, None] - q[None, :] + 1))
    return (2.0 * q + 1)[:, None] * sign, (2.0 * q + 1) * (-1.0) ** q


def _lagt(N: int) -> Pair:
    return 0.5 * np.eye(N) - np.tril(np.ones((N, N))), np.ones(N)


def _tlagt(N: int, beta: float = 1.0) -> Pair:
    return (1 - beta) / 2 * np.eye(N) - np.tril(np.ones((N, N))), beta * np.ones(N)


def _glagt(N: int, alpha: float = 0.0, beta: float = 0.01) -> Pair:
    lgamma = np.vectorize(math.lgamma)
    i = np.arange(N, dtype=np.float64)
    A = -(1 + beta) / 2 * np.eye(N) - np.tril(np.ones((N, N)), -1)
    B = np.exp(lgamma(alpha + i + 1) - lgamma(i + 1) - math.lgamma(alpha + 1))
    scale = np.exp(0.5 * (lgamma(i + alpha + 1) - lgamma(i + 1)))
    B = B / scale * math.exp(-0.5 * math.lgamma(1 - alpha)) * beta ** ((1 - alpha) / 2)
    return A * scale[None, :] / scale[:, None], B


def _rotations(N: int, frequencies: Matrix) -> Matrix:
    """N x N with blocks [[0, -f], [f, 0]]: pairs of states that turn at f radians a second."""
    S = np.zeros((N, N))
    even = np.arange(0, N, 2)
    S[even, even + 1] = -frequencies
    S[even + 1, even] = frequencies
    return S


def _fourier_input(N: int) -> Matrix:
    B = np.zeros(N)
    B[0::2] = math.sqrt(2)
    B[0] = 1
    return B


def _fout(N: int) -> Pair:
    B = _fourier_input(N)
    return _rotations(N, np.pi * np.arange(N // 2)) - np.outer(B, B), B


def _fourier_decay(N: int) -> Pair:
    B = _fourier_input(N)
    return _rotations(N, np.pi * np.arange(N // 2)) - 0.5 * np.outer(B, B), 0.5 * B


def _fourier2(N: int) -> Pair:
    B = _fourier_input(N)
    return _rotations(N, 2 * np.pi * np.arange(N // 2)) - 2 * np.outer(B, B), 2 * B


def _foud(N: int) -> Pair:
    return _rotations(N, 2 * np.pi * np.arange(N // 2)) - 0.5 * np.eye(N), _fourier_input(N)


def _legsd(N: int) -> Pair:
    A, B = _legs(N)
    return A + 0.5 * np.outer(B, B), 0.5 * B


FAMILIES: dict[str, Callable[[int], Pair]] = {
    "legs": _legs,
    "legt": _legt,
    "lmu": _lmu,
    "lagt": _lagt,
    "tlagt": _tlagt,
    "glagt": _glagt,
    "fout": _fout,
    "fourier_decay": _fourier_decay,
    "fourier2": _fourier2,
    "foud": _foud,
    "legsd": _legsd,
}


def hippo(name: str, N: int) -> tuple[Float[Tensor, "N N"], Float[Tensor, " N"]]:
    """The matrices A and B of the HiPPO system x' = A x + B u that `name` stands for.

    name: legs, legt, lmu, lagt, tlagt, glagt, fout (= fourier), fourier_decay, fourier2,
    foud (= fourier_diag) or legsd.  N: number of states; even for the Fourier families.
    Raises ValueError for any other name.  Source: arXiv:2008.07669, theorems 1 to 3;
    arXiv:2206.12037, section 4.
    """
    A, B = _matrices(name, N)
    return torch.from_numpy(A), torch.from_numpy(B)


def _matrices(name: str, N: int) -> Pair:
    name = ALIASES.get(name, name)
    if name not in FAMILIES:
        raise ValueError(f"no HiPPO matrix {name!r}: {nearest(name, [*FAMILIES, *ALIASES])}")
    if N < 1 or (N % 2 and name.startswith("fou")):
        raise ValueError(f"need an even number of states for {name!r}, got {N=}.")
    return FAMILIES[name](N)


def _low_rank(name: str, N: int) -> Matrix:
    """The rows P with A + sum P P^T normal; as many as the family needs (none when A is normal)."""
    q = np.arange(N, dtype=np.float64)
    if name == "legs":
        return np.sqrt(q + 0.5)[None, :]
    if name == "legt":
        r = np.sqrt((2 * q + 1) / 2)
        odd = np.arange(N) % 2
        return np.stack([r * odd, r * (1 - odd)])
    if name == "lagt":
        return np.full((1, N), math.sqrt(0.5))
    scale = {"fout": 1.0, "fourier_decay": math.sqrt(0.5), "fourier2": math.sqrt(2)}
    if name in scale:
        return scale[name] * _fourier_input(N)[None, :]
    if name in ("foud", "legsd"):
        return np.zeros((0, N))
    raise ValueError(
        f"{name!r} has no known normal-plus-low-rank form; choose from "
        "fourier2, fourier_decay, foud, fout, lagt, legs, legsd, legt."
    )


def low_rank_of(name: str) -> int:
    """Rows of P that a family with a normal-plus-low-rank form needs; ValueError for others."""
    return len(_low_rank(ALIASES.get(name, name), 2))


def nplr(
    name: str, N: int, rank: int = 1
) -> tuple[
    Complex[Tensor, " n"], Complex[Tensor, "R n"], Complex[Tensor, " n"], Complex[Tensor, "N n"]
]:
    """Diagonalise a HiPPO matrix up to low rank: A = V^ (diag Lambda^ - P^ P^*) V^*, B = V^ B^.

    A hat stands for a vector with its conjugate appended; only the n = N / 2 eigenvalues with
    Im <= 0 are returned, most negative first.  rank: rows of P; those that the family does not
    need are zero.  Eigenvectors are unique up to a unit phase per mode.

    Raises ValueError for an odd N, a rank below what the family needs, or a family that has no such
    form (lmu, glagt, tlagt).  Source: S4, arXiv:2111.00396, theorem 1 and appendix C.1.
    """
    name = ALIASES.get(name, name)
    if N % 2:
        raise ValueError(f"need an even number of states, got {N=}: modes come in pairs.")
    A, B = _matrices(name, N)
    P = _low_rank(name, N)
    if rank < len(P):
        raise ValueError(f"{name!r} needs rank >= {len(P)}, got {rank=}.")
    P = np.concatenate([P, np.zeros((rank - len(P), N))])
    normal = A + P.T @ P
    real = float(np.mean(np.diag(normal)))
    imag, V = np.linalg.eigh(-1j * (normal - real * np.eye(N)))
    order = np.argsort(imag, kind="stable")[: N // 2]
    Lambda, V = real + 1j * imag[order], V[:, order]
    if abs(imag[order[-1]]) < 1e-4:
        # The null space is two-dimensional and eigh returns two real vectors of it; half of the
        # pair must be a complex vector whose conjugate is the other half.
        V[:, -1] = 0
        V[0, -1], V[1, -1] = math.sqrt(0.5), 1j * math.sqrt(0.5)
        Lambda[-1] = real
    Vh = V.conj().T
    tensors = (Lambda, (Vh @ P.T).T, Vh @ B, V)
    Lambda_t, P_t, B_t, V_t = (torch.from_numpy(np.ascontiguousarray(t)) for t in tensors)
    return Lambda_t, P_t, B_t, V_t
