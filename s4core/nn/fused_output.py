"""What follows a convolution on a CPU, in blocks of columns that stay in cache.

Eager code reads and writes the whole (H, B L) matrix once for each small operation: mask, gelu,
product, gate, mask, sum, and five for a LayerNorm. Here all of that happens to a block of columns
before the next one is touched, and backward keeps only y, v and the normalised values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu

from s4core.ops.operator import Operator

# Numbers in a block.
BLOCK = 1 << 18


def applies(x: Tensor) -> bool:
    """Whether x (H, B, L) is for this module: on a CPU, not compiled, in the parameters' dtype.

    Compilers fuse the plain operations by themselves, and autocast changes their dtype.
    """
    eager = not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
    return eager and x.device.type == "cpu" and x.numel() > 0


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


def _mask(x: Tensor, mask: Tensor, rows: slice) -> Tensor:
    """Multiply x (H, b l), in place, by the mask (H, B) of its b sequences; empty: by nothing."""
    if mask.numel():
        x.view(x.shape[0], rows.stop - rows.start, -1).mul_(mask[:, rows, None])
    return x


def _glu_forward(
    y: Tensor, W: Tensor, b: Tensor, inner: Tensor, outer: Tensor, length: int, approximate: str
) -> tuple[Tensor, Tensor]:
    half = W.shape[0] // 2
    z, v = y.new_empty(half, y.shape[1]), y.new_empty(2 * half, y.shape[1])
    for c, r in _blocks(y, length):
        g = _mask(gelu(y[:, c], approximate=approximate), inner, r)
        torch.addmm(b[:, None], W, g, out=v[:, c])
        torch.sigmoid(v[half:, c], out=z[:, c]).mul_(v[:half, c])
        _mask(z[:, c], outer, r)
    return z, v


def _glu_backward(
    dz: Tensor,
    y: Tensor,
    v: Tensor,
    W: Tensor,
    inner: Tensor,
    outer: Tensor,
    length: int,
    approximate: str,
) -> tuple[Tensor, ...]:
    half = W.shape[0] // 2
    dy, dW = torch.empty_like(y), torch.zeros_like(W)
    db = W.new_zeros(W.shape[0])
    for c, r in _blocks(y, length):
        gate, dv = torch.sigmoid(v[half:, c]), v.new_empty(2 * half, c.stop - c.start)
        d = _mask(torch.mul(dz[:, c], gate, out=dv[:half]), outer, r)
        torch.mul(d, v[:half, c], out=dv[half:]).mul_(gate.neg_().add_(1.0))
        g = _mask(gelu(y[:, c], approximate=approximate), inner, r)
        dW.addmm_(dv, g.t())
        db += dv.sum(1)
        dg = _mask(torch.mm(W.t(), dv, out=g), inner, r)
        torch.ops.aten.gelu_backward.grad_input(
            dg, y[:, c], approximate=approximate, grad_input=dy[:, c]
        )
    return dy, dW, db, torch.zeros_like(inner), torch.zeros_like(outer)


_glu_output = Operator(
    "glu_output",
    "Tensor y, Tensor W, Tensor b, Tensor inner, Tensor outer, int length, str approximate",
    "z, v",
    keep="y, v, W, inner, outer",
    forward=_glu_forward,
    backward=_glu_backward,
)


def glu_output(
    y: Tensor,
    W: Tensor,
    b: Tensor,
    *,
    inner: Tensor | None = None,
    outer: Tensor | None = None,
    approximate: str = "none",
) -> Tensor:
    """outer * GLU(W (inner * gelu(y)) + b): y (I, B, L), W (2 H, I) to (H, B, L).

    inner (I, B) and outer (H, B): scaled dropout masks, one value for all steps of a sequence.
    """
    nothing = y.new_empty(0)
    masks = (m if m is not None else nothing for m in (inner, outer))
    z: Tensor = _glu_output(y.flatten(1), W, b, *masks, y.shape[2], approximate)
    return z.view(W.shape[0] // 2, *y.shape[1:])


def _norm_forward(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, ...]:
    out, hat, scale = torch.empty_like(x), torch.empty_like(x), x.new_empty(x.shape[1])
    mean = torch.full_like(weight, 1.0 / len(weight))
    for c, _ in _blocks(x, x.shape[1]):
        h = torch.add(x[:, c], y[:, c], out=hat[:, c]) if y.numel() else hat[:, c].copy_(x[:, c])
        h.sub_(mean @ h)
        torch.mv(h.square().t(), mean, out=scale[c]).add_(eps).rsqrt_()
        h.mul_(scale[c])
        torch.addcmul(bias[:, None], h, weight[:, None], out=out[:, c])
    return out, hat, scale


def _norm_backward(
    d: Tensor, hat: Tensor, scale: Tensor, weight: Tensor, y: Tensor, eps: float
) -> tuple[Tensor, ...]:
    dx = torch.empty_like(d)
    dweight, dbias, mean = torch.zeros_like(weight), torch.zeros_like(weight), weight / len(weight)
    for c, _ in _blocks(d, d.shape[1]):
        here, h = d[:, c], hat[:, c]
        through = here * h
        dbias += here.sum(1)
        dweight += through.sum(1)
        c1, c2 = mean @ here, mean @ through
        torch.mul(h, c2, out=through).add_(c1).neg_().addcmul_(here, weight[:, None])
        torch.mul(through, scale[c], out=dx[:, c])
    return dx, (dx if y.numel() else torch.empty_like(y)), dweight, dbias


_layer_norm = Operator(
    "layer_norm_of_sum",
    "Tensor x, Tensor y, Tensor weight, Tensor bias, float eps",
    "out, hat, scale",
    keep="hat, scale, weight, y",
    forward=_norm_forward,
    backward=_norm_backward,
)


def layer_norm(x: Tensor, y: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over the first axis of x, or of x + y where y is given; (H, B, L) both."""
    other = x.new_empty(0) if y is None else y.flatten(1)
    out: Tensor = _layer_norm(x.flatten(1), other, weight, bias, eps)
    return out.view(x.shape)
