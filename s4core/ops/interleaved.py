"""Complex numbers as real ones: Re, Im, Re, Im, ..., which is how they lie in memory.

A product of real matrices is faster than one of complex ones, and half of the result is seldom
wanted.
"""

from __future__ import annotations

import torch

from ..shapes import Complex, Float, Tensor


def interleaved(x: Complex[Tensor, "*s n"]) -> Float[Tensor, "*s N"]:
    """The n complex numbers of the last axis as N = 2 n real ones."""
    return torch.view_as_real(x.resolve_conj()).flatten(-2)


def from_interleaved(x: Float[Tensor, "*s N"]) -> Complex[Tensor, "*s n"]:
    """The inverse of `interleaved`."""
    return torch.view_as_complex(x.view(*x.shape[:-1], x.shape[-1] // 2, 2))


def real_column(x: Complex[Tensor, "*s n"]) -> Float[Tensor, "*s N"]:
    """A half vector in coordinates [Re x, Im x], which dense real matrices act on."""
    return torch.cat([x.real, x.imag], -1)


def real_columns(B: Complex[Tensor, "P H"]) -> Float[Tensor, "H P2"]:
    """u @ result is B u, interleaved."""
    return interleaved(B.T)


def real_rows(C: Complex[Tensor, "H Q"]) -> Float[Tensor, "Q2 H"]:
    """x @ result is Re(C x) for interleaved x."""
    return torch.stack([C.real, -C.imag], -1).permute(1, 2, 0).flatten(0, 1)
