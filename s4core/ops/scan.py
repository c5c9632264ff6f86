"""The recurrence x_k = a_k x_(k-1) + b_k along a sequence, in two levels and in place.

All blocks of about sqrt(L) steps advance together, one step of the loop for each position in a
block; then the blocks' last states are carried along and added.  That is 2 sqrt(L) vector
operations and O(L) work, where an associative scan does O(L log L) or many passes over memory.
Powers of a constant coefficient are made in complex128: the product of 4096 rounded float32
factors would be wrong by 1e-4.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F

from ..shapes import Shaped, Tensor
from .operator import Operator
from .plain import plain_scan
from .precision import full_precision
from .vandermonde import split_length


@full_precision
def linear_scan(
    a: Shaped[Tensor, " ..."],
    b: Shaped[Tensor, "B L P"],
    x0: Shaped[Tensor, "B P"] | None = None,
    *,
    reverse: bool = False,
) -> Shaped[Tensor, "B L P"]:
    """All states x_k = a_k x_(k-1) + b_k, k = 0 .. L - 1, with x_(-1) = x0 (None is zero).

    a: (P,) constant, in any precision at least b's, or (B, L, P).  reverse: x_k = a_k x_(k+1) + b_k
    with x_L = x0.  Real or complex; the result has b's dtype.
    """
    if b.shape[1] == 0:
        return b
    if x0 is None:
        x0 = b.new_zeros(b.shape[0], b.shape[2])
    scan = _constant_scan if a.ndim == 1 else _varying_scan
    x: Tensor = scan(a, b, x0.to(b.dtype), reverse)
    return x


def linear_scan_ref(
    a: Shaped[Tensor, " ..."],
    b: Shaped[Tensor, "B L P"],
    x0: Shaped[Tensor, "B P"] | None = None,
    *,
    reverse: bool = False,
) -> Shaped[Tensor, "B L P"]:
    """The same, one step after the other."""
    x = b.new_zeros(b.shape[0], b.shape[2]) if x0 is None else x0
    a = a.to(b.dtype).expand_as(b)
    order = range(b.shape[1])
    states: list[Tensor] = []
    for k in reversed(order) if reverse else order:
        x = a[:, k] * x + b[:, k]
        states.append(x)
    return torch.stack(states[::-1] if reverse else states, 1)


def blocked(x: Shaped[Tensor, "B L P"], reverse: bool) -> Shaped[Tensor, "B c b P"]:
    """A fresh copy in whole blocks, padded with zeros where the scan ends."""
    B, L, P = x.shape
    b, blocks = split_length(L)
    pad = b * blocks - L
    padded = F.pad(x, (0, 0, pad, 0) if reverse else (0, 0, 0, pad)) if pad else x.clone()
    return padded.view(B, blocks, b, P)


def unblocked(X: Shaped[Tensor, "B c b P"], length: int, reverse: bool) -> Shaped[Tensor, "B L P"]:
    """The inverse of `blocked`, as a view."""
    x = X.flatten(1, 2)
    return x[:, x.shape[1] - length :] if reverse else x[:, :length]


def powers_of(a: Shaped[Tensor, " P"], b: int, dtype: torch.dtype) -> Shaped[Tensor, "b P"]:
    """a, a^2, ..., a^b in `dtype`, made in the precision of a."""
    return (a ** torch.arange(1, b + 1, device=a.device).unsqueeze(1)).to(dtype)


def scan_constant_(
    X: Shaped[Tensor, "B c b P"],
    powers: Shaped[Tensor, "m P"],
    x0: Shaped[Tensor, "B P"],
    reverse: bool,
) -> Shaped[Tensor, "B c b P"]:
    """Replace inputs by states, for a constant a given by `powers_of` with m >= b."""
    powers = powers[: X.shape[2]]
    # In the order of the scan: positions inside of all blocks, and the last position of each block.
    inside = X.unbind(2)[:: -1 if reverse else 1]
    for before, here in pairwise(inside):
        here.addcmul_(before, powers[0])
    start = torch.empty_like(inside[0])
    starts, ends = (t.unbind(1)[:: -1 if reverse else 1] for t in (start, inside[-1]))
    starts[0].copy_(x0)
    for carried, end, here in zip(starts, ends, starts[1:], strict=False):
        torch.addcmul(end, carried, powers[-1], out=here)
    return X.addcmul_(start.unsqueeze(2), powers.flip(0) if reverse else powers)


def scan_varying_(
    X: Shaped[Tensor, "B c b P"],
    a: Shaped[Tensor, "B c b P"],
    x0: Shaped[Tensor, "B P"],
    reverse: bool,
) -> Shaped[Tensor, "B c b P"]:
    """Replace inputs by states and coefficients by their products from each block's start."""
    order = -1 if reverse else 1
    inside, factors = X.unbind(2)[::order], a.unbind(2)[::order]
    for i in range(1, len(inside)):
        inside[i].addcmul_(inside[i - 1], factors[i])
        factors[i].mul_(factors[i - 1])
    start = torch.empty_like(inside[0])
    starts, ends, products = (t.unbind(1)[::order] for t in (start, inside[-1], factors[-1]))
    starts[0].copy_(x0)
    for i in range(1, len(starts)):
        torch.addcmul(ends[i - 1], starts[i - 1], products[i - 1], out=starts[i])
    return X.addcmul_(start.unsqueeze(2), a)


def previous(x: Tensor, x0: Tensor, reverse: bool) -> Tensor:
    """The state that each step starts from."""
    ends = x0.unsqueeze(1)
    return torch.cat([x[:, 1:], ends], 1) if reverse else torch.cat([ends, x[:, :-1]], 1)


def _constant(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> tuple[Tensor]:
    X = blocked(b, reverse)
    X = scan_constant_(X, powers_of(a, X.shape[2], X.dtype), x0, reverse)
    return (unblocked(X, b.shape[1], reverse),)


def _constant_backward(
    dx: Tensor, a: Tensor, x: Tensor, x0: Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    back, ahead = a.conj().resolve_conj(), not reverse
    G = blocked(dx, ahead)
    powers = powers_of(back, G.shape[2], G.dtype)
    G = scan_constant_(G, powers, torch.zeros_like(x0), ahead)
    g = unblocked(G, x.shape[1], ahead)
    first = g[:, -1 if reverse else 0]
    da = (g * previous(x, x0, reverse).conj()).sum((0, 1)).to(a.dtype)
    return da, g, first * back.to(x.dtype)


def _varying(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> tuple[Tensor]:
    X = scan_varying_(blocked(b, reverse), blocked(a.to(b.dtype), reverse), x0, reverse)
    return (unblocked(X, b.shape[1], reverse),)


def _varying_backward(
    dx: Tensor, a: Tensor, x: Tensor, x0: Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    back, ahead, zero = a.to(x.dtype).conj(), not reverse, torch.zeros_like(x0)
    # g_k = dx_k + conj(a_(k+1)) g_(k+1): the coefficient belongs to the later step.
    later = previous(back, zero, ahead)
    G = scan_varying_(blocked(dx, ahead), blocked(later, ahead), zero, ahead)
    g = unblocked(G, x.shape[1], ahead)
    edge = -1 if reverse else 0
    da = (g * previous(x, x0, reverse).conj()).to(a.dtype)
    return da, g, g[:, edge] * back[:, edge]


_constant_scan = Operator(
    "constant_scan",
    "Tensor a, Tensor b, Tensor x0, bool reverse",
    "x",
    keep="a, x, x0",
    forward=_constant,
    backward=_constant_backward,
    plain=plain_scan,
)
_varying_scan = Operator(
    "varying_scan",
    "Tensor a, Tensor b, Tensor x0, bool reverse",
    "x",
    keep="a, x, x0",
    forward=_varying,
    backward=_varying_backward,
    plain=plain_scan,
)
