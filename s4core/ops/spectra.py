"""Spectra that need no HiPPO matrix: the diagonal initialisations of S4D, by their formula.

Each returns n eigenvalues with Re < 0 and Im >= 0, as A = -re + i im; a system keeps the conjugate
(Im <= 0), which is the same real system.  Source: S4D, arXiv:2206.11893, section 4.
"""

from __future__ import annotations

import math

import torch

from ..config import nearest
from ..shapes import Float, Tensor
from .hippo import nplr

SPECTRA = ("lin", "inv", "inv2", "quad", "rand", "legs", "real")


def spectrum(
    name: str, n: int, *, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The positive numbers (re, im) of n modes A = -re - i im, in float64.

    lin: im = pi k; inv: (N / pi)(N / (2k + 1) - 1); inv2: (N / pi)(N / (k + 1) - 1);
    quad: (1 + 2k)^2 / pi; rand: exp(normal); legs: that of HiPPO-LegS; real: re = k + 1, im = 0;
    elsewhere re = 1/2.  N = 2 n states, k = 0 .. n - 1.
    Raises ValueError for any other name.  Source: arXiv:2206.11893, eqs. (9) to (11).
    """
    k = torch.arange(n, dtype=torch.float64)
    N = 2 * n
    re = torch.full_like(k, 0.5)
    if name == "lin":
        im = math.pi * k
    elif name == "inv":
        im = N / math.pi * (N / (2 * k + 1) - 1)
    elif name == "inv2":
        im = N / math.pi * (N / (k + 1) - 1)
    elif name == "quad":
        im = (1 + 2 * k) ** 2 / math.pi
    elif name == "rand":
        im = torch.randn(n, dtype=torch.float64, generator=generator).exp()
    elif name == "legs":
        im = -nplr("legs", N)[0].imag
    elif name == "real":
        re, im = k + 1, torch.zeros_like(k)
    else:
        raise ValueError(f"no spectrum {name!r}: {nearest(name, SPECTRA)}")
    return re, im
