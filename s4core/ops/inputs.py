"""What the functions of this package take: other precisions are converted, other shapes refused."""

from __future__ import annotations

import functools
import operator

import torch

from ..shapes import Tensor


def kernel_length(A: Tensor, C: Tensor, length: int) -> int:
    """`length` as an int, also one of numpy's; ValueError for a C that is not (C, H, n)."""
    if C.ndim != 3 or C.shape[-1] != A.shape[-1] or not C.shape[0] * C.shape[-1]:
        n = A.shape[-1]
        raise ValueError(f"want a readout of shape (channels, H, {n}), got {tuple(C.shape)}.")
    return length if isinstance(length, int) else operator.index(length)


def common_dtype(*tensors: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """The real and the complex dtype, of float32 at least, that hold all of the tensors."""
    dtypes = (x.real.dtype for x in tensors)
    real = functools.reduce(torch.promote_types, dtypes, torch.float32)
    return real, torch.promote_types(real, torch.complex64)


def want_shape(name: str, x: Tensor, axes: str, *shapes: tuple[int, ...]) -> None:
    """Raise ValueError unless x has one of the shapes; axes: what they are called."""
    if tuple(x.shape) not in shapes:
        choices = " or ".join(str(shape) for shape in shapes)
        raise ValueError(f"want {name} of shape {axes}, here {choices}, got {tuple(x.shape)}.")
