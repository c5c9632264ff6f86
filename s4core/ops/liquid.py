"""Liquid-S4: the state matrix depends on the input, x_k = (A_bar + B_bar u_k) x_(k-1) + B_bar u_k.

`liquid_scan` is that recurrence, exact or cut off at products of `degree` inputs: causal, trainable
and steppable.  The published code computes something else (correlation kernels PB and KB over
flipped inputs, non-causal, with frozen coefficients); `published_polyb` and `published_kb` are
that, for reproducing its numbers only.

Sources: Liquid-S4, arXiv:2209.12951, eqs. (5) to (9); the truncation by scans is our own.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch

from ..shapes import Complex, Float, Int, Tensor
from .discretize import discretize, per_mode
from .precision import full_precision
from .scan import linear_scan

Squash = Literal["none", "tanh", "lecun"]


@full_precision
def liquid_scan(
    u: Float[Tensor, "B H L"],
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    degree: int | None = None,
) -> Float[Tensor, "B H L"]:
    """y_k = 2 Re(C x_k) + D u_k, A_bar and B_bar by the bilinear rule of the linear part.

    degree: None for the exact recurrence; p >= 1 keeps products of at most p inputs, as p linear
    scans z^p_k = A_bar z^p_(k-1) + B_bar u_k z^(p-1)_(k-1).  dt: (H,), (H, 1) or (H, n).
    Raises ValueError for a degree below 1.
    """
    y, _ = liquid_scan_with_state(u, A, B, C, D, dt, degree=degree)
    return y


@full_precision
def liquid_scan_with_state(
    u: Float[Tensor, "B H L"],
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    degree: int | None = None,
    x0: Complex[Tensor, "p B H n"] | None = None,
) -> tuple[Float[Tensor, "B H L"], Complex[Tensor, "p B H n"]]:
    """`liquid_scan` from a state, and the state after the last step.

    The state has one layer for each degree (one if exact).
    """
    if degree is not None and degree < 1:
        raise ValueError(f"need a degree >= 1, got {degree}.")
    (batch, H, L), n = u.shape, A.shape[-1]
    A_bar, B_bar = liquid_discretize(A, B, dt)
    if x0 is None:
        x0 = torch.zeros(degree or 1, batch, H, n, dtype=A.dtype, device=u.device)
    if u.numel() == 0:
        return u.to(D.dtype), x0
    start = x0.flatten(2)
    Bu = (u.to(C.real.dtype).transpose(1, 2).unsqueeze(-1) * B_bar.to(A.dtype)).flatten(2)
    if degree is None:
        x = linear_scan(A_bar.flatten().to(A.dtype) + Bu, Bu, start[0])
        end = x[:, -1:].transpose(0, 1)
    else:
        x, end = _cascade(A_bar.flatten(), Bu, start)
    y = 2 * torch.einsum("blhn,hn->bhl", x.view(batch, L, H, n), C).real
    return torch.addcmul(y, u, D.unsqueeze(-1)), end.reshape(-1, batch, H, n)


def liquid_step(
    u: Float[Tensor, "B H"],
    x: Complex[Tensor, "p B H n"],
    A_bar: Complex[Tensor, "H n"],
    B_bar: Complex[Tensor, "H n"],
    *,
    exact: bool,
) -> Complex[Tensor, "p B H n"]:
    """One step of the state of `liquid_scan_with_state`; y = 2 Re(C sum_p x_p) + D u.

    exact: the recurrence itself (p = 1) instead of its terms up to degree p.
    """
    b = B_bar * u.unsqueeze(-1)
    if exact:
        return (A_bar + b) * x + b
    terms = torch.cat([torch.ones_like(x[:1]), x[:-1]])
    return torch.addcmul(A_bar * x, b, terms)


def _cascade(a: Tensor, Bu: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the degrees' states, and each one's last."""
    z = linear_scan(a, Bu, start[0])
    total, ends = z, [z[:, -1]]
    for first, below in zip(start[1:], start[:-1], strict=True):
        before = torch.cat([below.unsqueeze(1), z[:, :-1]], 1)
        z = linear_scan(a, Bu * before, first)
        total = total + z
        ends.append(z[:, -1])
    return total, torch.stack(ends)


def liquid_scan_ref(
    u: Float[Tensor, "B H L"],
    A: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n"],
    C: Complex[Tensor, "H n"],
    D: Float[Tensor, " H"],
    dt: Float[Tensor, " ..."],
    *,
    degree: int | None = None,
) -> Float[Tensor, "B H L"]:
    """The same, one step after the other."""
    A_bar, B_bar = liquid_discretize(A, B, dt)
    z = [u.new_zeros(*u.shape[:2], A.shape[-1]).to(A.dtype) for _ in range(degree or 1)]
    outputs = []
    for k in range(u.shape[-1]):
        b = B_bar * u[:, :, k].unsqueeze(-1)
        if degree is None:
            z = [(A_bar + b) * z[0] + b]
        else:
            z = [A_bar * z[p] + b * (z[p - 1] if p else 1) for p in range(degree)]
        outputs.append(2 * (C * sum(z)).sum(-1).real + D * u[:, :, k])
    return torch.stack(outputs, -1)


def liquid_discretize(
    A: Complex[Tensor, "H n"], B: Complex[Tensor, "H n"], dt: Float[Tensor, " ..."]
) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "H n"]]:
    """(A_bar, B_bar) of the linear part by the bilinear rule, in complex128."""
    log_A_bar, gain = discretize(A.to(torch.complex128), per_mode(dt).double(), "bilinear")
    return log_A_bar.exp(), gain * B.to(torch.complex128)


def correlations(
    u: Float[Tensor, "B H L"], degree: int, *, all_combinations: bool, squash: Squash = "none"
) -> list[Float[Tensor, "B H L"]]:
    """The published products of 2, 3, .. degree inputs, as sequences of length L.

    all_combinations: the last L of the lexicographic subsets of the latest inputs; position has no
    meaning in time.  Otherwise each is the one before times itself shifted by a step.
    Raises ValueError for degree < 2 or L < degree + 3, as upstream.
    """
    length = u.shape[-1]
    if degree < 2 or length < degree + 3:
        raise ValueError(f"need degree >= 2 and L >= degree + 3, got {degree=}, L = {length}.")
    products, us = [], u
    for p in range(2, degree + 1):
        if all_combinations:
            us = u[..., combination_indices(length, p).to(u.device)].prod(-1)
        else:
            us = us * torch.nn.functional.pad(us, (1, -1))
        products.append(_squash(us, squash))
    return products


def combination_indices(length: int, p: int) -> Int[Tensor, "L p"]:
    """The last `length` p-subsets of the latest inputs, in lexicographic order."""
    n = p
    while math.comb(n, p) < length:
        n += 1
    subsets = list(itertools.combinations(range(length - n, length), p))
    return torch.tensor(subsets[-length:])


def _squash(x: Tensor, squash: Squash) -> Tensor:
    if squash == "tanh":
        return torch.tanh(x)
    return 1.7159 * torch.tanh(0.666 * x) if squash == "lecun" else x


def published_polyb(
    b: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    products: list[Float[Tensor, "B H L"]],
    *,
    bidirectional: bool = False,
) -> Float[Tensor, "B H L"]:
    """The term that mode PB adds to the linear output; b is dt B / (1 - dt A / 2), C is plain.

    Powers of b are b S, b S^3, b S^7, .. with S = 2 Re sum b.  Bidirectional: C has two rows, the
    second for the sequence that is not flipped.  Non-causal.
    """
    total, S = torch.zeros_like(products[0]), 2 * b.sum(-1, keepdim=True).real
    for us in products:
        b = b * S
        S = S * S
        weight = 2 * (C * b).sum(-1).real
        total = total + us.flip(-1) * weight[0].unsqueeze(-1)
        if bidirectional:
            total = total + us * weight[1].unsqueeze(-1)
    return total


def published_kb(
    b: Complex[Tensor, "H n"],
    k: Float[Tensor, "H K"],
    products: list[Float[Tensor, "B H L"]],
) -> Float[Tensor, "B H L"]:
    """The term that mode KB adds: flipped products times the kernel k S, k S^2, ..

    k: the linear kernel (H, L), or (H, 2L) with the flipped reverse kernel behind it.
    Its second spectrum has the length L + 1 instead of 2 L, so the bins do not match, as upstream.
    """
    length = products[0].shape[-1]
    S = 2 * b.sum(-1, keepdim=True).real
    spectrum: Tensor | None = None
    for us in products:
        k = k * S
        one = torch.fft.rfft(us.flip(-1), n=2 * length) * torch.fft.fft(k, n=length + 1)
        spectrum = one if spectrum is None else spectrum + one
    y: Tensor = torch.fft.irfft(spectrum, n=2 * length)
    return y[..., :length]
