"""What the published code of Liquid-S4 adds to a linear output, for reproducing its numbers only.

Correlation kernels PB and KB act on flipped inputs: non-causal, and with other coefficients than
the paper's. The causal forms are in `liquid.py`.

Source: Liquid-S4, arXiv:2209.12951, and its code.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch

from ..shapes import Complex, Float, Int, Tensor

Squash = Literal["none", "tanh", "lecun"]


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
