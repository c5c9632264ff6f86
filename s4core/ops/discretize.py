"""From a continuous diagonal system to the recurrence x_l = A_bar x_(l-1) + B_bar u_l."""

from __future__ import annotations

from typing import Literal

import torch

from ..shapes import Complex, Float, Tensor

Discretization = Literal["zoh", "bilinear"]

# exp(-1e4) is 0 in any dtype, and 0 * -inf in the power 0 would be NaN.
LOWEST_LOG = -1e4


def discretize(
    A: Complex[Tensor, "*h n"],
    dt: Float[Tensor, "*d"],
    discretization: Discretization = "zoh",
) -> tuple[Complex[Tensor, " ..."], Complex[Tensor, " ..."]]:
    """Return (log A_bar, gain) of a diagonal system, with B_bar = gain * B.

    A: eigenvalues, any sign of the real part for zoh; dt > 0, broadcast against A.
    zoh: A_bar = exp(dt A), gain = (A_bar - 1) / A, with its limit dt at A = 0.
    bilinear: A_bar = (1 + dt A / 2) / (1 - dt A / 2), gain = dt / (1 - dt A / 2).
    The logarithm is what kernels need: A_bar^l = exp(l log A_bar) at any l.
    Source: S4D, arXiv:2206.11893, section 3.1.
    """
    if discretization == "zoh":
        log_A_bar = A * dt
        return log_A_bar, dt * expm1_over(log_A_bar)
    if discretization == "bilinear":
        half = A * dt / 2
        # Next to A_bar = 0, whose logarithm has no gradient.
        half = torch.where(half == -1, half + 1e-15, half)
        return torch.log1p(half) - torch.log1p(-half), dt / (1 - half)
    raise ValueError(f"no discretization {discretization!r}: choose from bilinear, zoh.")


def expm1_over(z: Complex[Tensor, "*h"]) -> Complex[Tensor, "*h"]:
    """(exp(z) - 1) / z without cancellation, and 1 at z = 0 (with its derivative 1/2)."""
    small = z.abs() < 1e-3
    safe = torch.where(small, torch.ones_like(z), z)
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5)))
    return torch.where(small, series, torch.expm1(safe) / safe)


def per_mode(dt: Float[Tensor, " ..."]) -> Float[Tensor, "H m"]:
    """One step a feature becomes a column that broadcasts over its modes."""
    return dt.unsqueeze(-1) if dt.ndim == 1 else dt
