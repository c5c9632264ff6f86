"""Operations on (H, B, L) tensors: channels outermost, so that every channel is one plain matrix.

Inside the stack a sequence has the shape (B, L, H) and the *memory* of (H, B, L): the convolution
along time wants contiguous rows, the channel mixing is then one GEMM (O, I) @ (I, B L), and both
views cost nothing. What follows the convolution runs 1.3 to 1.9 times as fast as in (B, H, L).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


def h_first(x: Tensor) -> Tensor:
    """View (B, L, H) as (H, B, L)."""
    return x.permute(2, 0, 1)


def h_last(x: Tensor) -> Tensor:
    """View (H, B, L) as (B, L, H)."""
    return x.permute(1, 2, 0)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply `layer` over the first axis: (I, B, L) -> (O, B, L)."""
    flat = x.reshape(x.shape[0], x.shape[1] * x.shape[2])
    if torch.compiler.is_compiling():
        # A sum of three axes, which a compiler fuses with what follows and not with the product.
        y = layer.weight @ flat
        return y.view(layer.out_features, *x.shape[1:]) + layer.bias[:, None, None]
    y = torch.addmm(layer.bias[:, None], layer.weight, flat)
    return y.view(layer.out_features, *x.shape[1:])


def set_weight(layer: nn.Linear, value: Tensor) -> None:
    """Write the matrix of a linear map, which may be one with weight norm."""
    with torch.no_grad():
        if is_parametrized(layer):
            layer.weight = value
        else:
            layer.weight.copy_(value)


def dropout(x: Tensor, p: float, *, tied: bool, training: bool) -> Tensor:
    """Drop entries of x (H, B, L) with probability p; `tied`: one mask for all steps."""
    if not training or p == 0.0:
        return x
    if not tied:
        return F.dropout(x, p)
    return x * tied_mask(x, x.shape[0], p)[:, :, None]


def drop_path(x: Tensor, p: float, *, training: bool) -> Tensor:
    """Drop whole sequences of x (H, B, L) with probability p."""
    return x * tied_mask(x, 1, p)[:, :, None] if training and p > 0.0 else x


def tied_mask(x: Tensor, channels: int, p: float) -> Tensor:
    """Draw the mask (channels, B) of x (H, B, L): 0 with probability p, else 1 / (1 - p)."""
    keep = torch.rand(channels, x.shape[1], device=x.device) >= p
    return keep.to(x.dtype) / (1.0 - p)


def pad_steps(x: Tensor, lengths: Tensor | None, multiple: int) -> tuple[Tensor, Tensor | None]:
    """Append steps of 0 to x (B, L, H) until `multiple` divides L; `lengths` then says what counts.

    A sequence that fits is given back as it is.
    """
    batch, length, _ = x.shape
    missing = -length % multiple
    if not missing:
        return x, lengths
    if lengths is None:
        lengths = torch.full((batch,), length, device=x.device)
    return h_last(F.pad(h_first(x), (0, missing))), lengths


def mask_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Put 0 at the steps of x (B, L, H) at and beyond `lengths` (B,)."""
    return x if lengths is None else h_last(mask_steps(h_first(x), lengths))


def even_dt(dt: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """Give the steps of padding the dt (B, L) of each row's first, which a sequence wraps to."""
    if dt is None or lengths is None:
        return dt
    steps = torch.arange(dt.shape[1], device=dt.device)
    return torch.where(steps < lengths[:, None], dt, dt[:, :1])


def mask_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Put 0 at the steps of x (H, B, L) at and beyond `lengths` (B,)."""
    if lengths is None:
        return x
    steps = torch.arange(x.shape[2], device=x.device)
    return x * (steps < lengths[:, None]).to(x.dtype)
