"""What follows a convolution on a CPU, in blocks of columns that stay in cache.

Eager code reads and writes the whole (H, B L) matrix once for each small operation: mask, gelu,
product, gate, mask, sum, and five for a LayerNorm. Here all of that happens to a block of columns
before the next one is touched, and of what lies between y and the result only the product that
goes into the gate is kept. What only backward reads lies in memory block after block: the rows of a
large matrix are a power of two apart, which a cache cannot hold together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from s4core.ops.operator import Operator
from s4core.ops.plain import is_forward_mode

# Numbers in a block.
BLOCK = 1 << 17


def applies(x: Tensor) -> bool:
    """Whether x (H, B, L) is for this module: on a CPU, not compiled, in the parameters' dtype.

    Compilers fuse the plain operations by themselves, and autocast changes their dtype.
    """
    eager = not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
    eager = eager and not is_forward_mode()
    return eager and x.device.type == "cpu" and x.numel() > 0


class Sum(NamedTuple):
    """The end of a post-norm block: LayerNorm of x (H, B, L) plus the output of its branch."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    eps: float


def glu_output(
    y: Tensor,
    W: Tensor,
    b: Tensor,
    *,
    inner: Tensor | None = None,
    outer: Tensor | None = None,
    approximate: str = "none",
    into: Sum | None = None,
) -> Tensor:
    """z = outer * GLU(W (inner * gelu(y)) + b): y (I, B, L), W (2 H, I) to (H, B, L).

    inner (I, B) and outer (H, B): scaled dropout masks, one value for all steps of a sequence.
    into: what z is added to and normalised with, in the same pass.
    """
    nothing = y.new_empty(0)
    masks = [m if m is not None else nothing for m in (inner, outer)]
    x, affine, eps = nothing, nothing, 0.0
    if into is not None:
        x, affine, eps = into.x, torch.stack([into.weight, into.bias]), into.eps
    Wb = torch.cat([W, b[:, None]], 1)
    z: Tensor = _glu_output(y, Wb, *masks, x, affine, approximate, eps)
    return z


def layer_norm(x: Tensor, y: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over the first axis of x, or of x + y where y is given; (H, B, L) both."""
    other = x.new_empty(0) if y is None else y.flatten(1)
    out: Tensor = _layer_norm(x.flatten(1), other, weight, bias, eps, y is not None)
    return out.view(x.shape)


def _blocks(x: Tensor, length: int) -> list[tuple[slice, slice]]:
    """Columns of x (H, B L) in pieces, and their sequences: whole ones or a part of one."""
    columns = max(64, BLOCK // max(1, x.shape[0]))
    rows, steps = max(1, columns // max(1, length)), max(1, min(length, columns))
    batch = x.shape[1] // max(1, length)
    return [
        (
            slice(i * length + k, min(i + rows - 1, batch - 1) * length + min(k + steps, length)),
            slice(i, min(i + rows, batch)),
        )
        for i in range(0, batch, rows)
        for k in range(0, length, steps)
    ]


def _piece(kept: Tensor, columns: slice) -> Tensor:
    """The block of these columns of a (rows, B L) whose memory lies block after block."""
    rows, width = kept.shape[0], columns.stop - columns.start
    return kept.view(-1)[rows * columns.start :][: rows * width].view(rows, width)


def _mask(x: Tensor, mask: Tensor, rows: slice, *, out: Tensor | None = None) -> Tensor:
    """x (H, b l) times the mask (H, B) of its b sequences, in place or in `out`; empty: x."""
    if not mask.numel():
        return x
    out = x if out is None else out
    sequences = (x.shape[0], rows.stop - rows.start, -1)
    torch.mul(x.view(sequences), mask[:, rows, None], out=out.view(sequences))
    return out


def _activated(y: Tensor, inner: Tensor, rows: slice, approximate: str) -> Tensor:
    """[inner * gelu(y); 1], so that one product with [W, b] adds the bias too."""
    g = y.new_empty(y.shape[0] + 1, y.shape[1])
    g[-1] = 1.0
    torch.ops.aten.gelu.out(y, approximate=approximate, out=g[:-1])
    _mask(g[:-1], inner, rows)
    return g


def _glu_forward(
    y: Tensor,
    Wb: Tensor,
    inner: Tensor,
    outer: Tensor,
    x: Tensor,
    affine: Tensor,
    approximate: str,
    eps: float,
) -> tuple[Tensor, ...]:
    half, (_, batch, length) = len(Wb) // 2, y.shape
    total, normed = batch * length, x.numel() > 0
    y, x, out = y.flatten(1), x.flatten(1) if normed else x, y.new_empty(half, total)
    # Of each block: what goes into the gate and, with a norm, the mean and 1 / std of its columns.
    kept = y.new_empty(2 * half + 2 if normed else 2 * half, total)
    mean = y.new_full((half,), 1.0 / half)
    for c, rows in _blocks(y, length):
        mine = _piece(kept, c)
        g = _activated(y[:, c].contiguous(), inner, rows, approximate)
        ab = torch.mm(Wb, g, out=mine[: 2 * half])
        z = _mask(torch.sigmoid(ab[half:]).mul_(ab[:half]), outer, rows)
        if normed:
            _normalise(z.add_(x[:, c]), mean, eps, mine[-2], mine[-1])
            torch.mul(z, affine[0, :, None], out=out[:, c]).add_(affine[1, :, None])
        else:
            out[:, c] = z
    return out.view(half, batch, length), kept


def _glu_backward(
    d_out: Tensor,
    y: Tensor,
    kept: Tensor,
    Wb: Tensor,
    inner: Tensor,
    outer: Tensor,
    x: Tensor,
    affine: Tensor,
    *plain: Any,
) -> tuple[Tensor, ...]:
    (approximate, _), half, shape, normed = plain, len(Wb) // 2, y.shape, x.numel() > 0
    y, d_out, x = y.flatten(1), d_out.flatten(1), x.flatten(1) if normed else x
    dy, dWb, d_affine = y.new_empty(y.shape), torch.zeros_like(Wb.t()), torch.zeros_like(affine)
    dx = d_out.new_empty(d_out.shape if normed else 0)
    W_t = Wb[:, :-1].t().contiguous()
    for c, rows in _blocks(y, shape[2]):
        mine, d = _piece(kept, c), d_out[:, c]
        a, dab = mine[:half], torch.empty_like(mine[: 2 * half])
        gate = torch.sigmoid(mine[half : 2 * half])
        scaled = _mask(gate, outer, rows, out=torch.empty_like(gate))
        z = a * scaled
        if normed:
            hat = torch.add(z, x[:, c]).sub_(mine[-2]).mul_(mine[-1])
            d = _norm_gradient(d, hat, mine[-1], affine[0], d_affine)
            dx[:, c] = d
        torch.mul(d, scaled, out=dab[:half])
        # Of the gate: d z (1 - gate).
        through = torch.mul(d, z, out=dab[half:])
        through.addcmul_(through, gate, value=-1)
        here = y[:, c].contiguous()
        g = _activated(here, inner, rows, approximate)
        dWb.addmm_(g, dab.t())
        dg = _mask(torch.mm(W_t, dab, out=g[:-1]), inner, rows)
        torch.ops.aten.gelu_backward.grad_input(dg, here, approximate=approximate, grad_input=dg)
        dy[:, c] = dg
    dx, dWb = dx.view(half, *shape[1:]) if normed else dx, dWb.t().contiguous()
    return dy.view(shape), dWb, torch.zeros_like(inner), torch.zeros_like(outer), dx, d_affine


def _normalise(h: Tensor, mean: Tensor, eps: float, middle: Tensor, scale: Tensor) -> None:
    """Normalise the columns of h (H, n) in place; middle, scale (n,) get their mean and 1 / std."""
    h.sub_(torch.mv(h.t(), mean, out=middle))
    torch.mv(h.square().t(), mean, out=scale).add_(eps).rsqrt_()
    h.mul_(scale)


def _norm_gradient(d: Tensor, hat: Tensor, scale: Tensor, weight: Tensor, d_norm: Tensor) -> Tensor:
    """The gradient of columns before they were normalised; adds those of weight and bias."""
    through = d * hat
    d_norm[0] += through.sum(1)
    d_norm[1] += d.sum(1)
    mean = weight / -len(weight)
    c1, c2 = mean @ d, mean @ through
    torch.addcmul(c1, hat, c2, out=through).addcmul_(d, weight[:, None])
    return through.mul_(scale)


def _norm_forward(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float, summed: bool
) -> tuple[Tensor, ...]:
    out, hat, scale = torch.empty_like(x), x.new_empty(x.shape), x.new_empty(x.shape[1])
    mean, middle = torch.full_like(weight, 1.0 / len(weight)), torch.empty_like(scale)
    for c, _ in _blocks(x, x.shape[1]):
        h = _piece(hat, c)
        h = torch.add(x[:, c], y[:, c], out=h) if summed else h.copy_(x[:, c])
        _normalise(h, mean, eps, middle[c], scale[c])
        torch.mul(h, weight[:, None], out=out[:, c]).add_(bias[:, None])
    return out, hat, scale


def _norm_backward(
    d: Tensor, hat: Tensor, scale: Tensor, weight: Tensor, eps: float, summed: bool
) -> tuple[Tensor, ...]:
    dx, d_norm = torch.empty_like(d), weight.new_zeros(2, len(weight))
    for c, _ in _blocks(d, d.shape[1]):
        dx[:, c] = _norm_gradient(d[:, c], _piece(hat, c), scale[c], weight, d_norm)
    return dx, (dx if summed else d.new_empty(0)), *d_norm.unbind(0)


_glu_output = Operator(
    "glu_output",
    "Tensor y, Tensor Wb, Tensor inner, Tensor outer, Tensor x, Tensor affine, "
    "str approximate, float eps",
    "out, kept",
    keep="y, kept, Wb, inner, outer, x, affine",
    forward=_glu_forward,
    backward=_glu_backward,
)
_layer_norm = Operator(
    "layer_norm_of_sum",
    "Tensor x, Tensor y, Tensor weight, Tensor bias, float eps, bool summed",
    "out, hat, scale",
    keep="hat, scale, weight",
    forward=_norm_forward,
    backward=_norm_backward,
)
