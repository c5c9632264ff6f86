"""All states of x_k = A x_(k-1) + v_k for a dense A, one matrix a feature, driven in every state.

All blocks of about sqrt(L) steps advance together from zero, their last states are carried along,
and then they advance once more from where they truly begin: 3 sqrt(L) products of many rows with
A, where powers of A for each position in a block would take sqrt(L) N^2 numbers a feature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..shapes import Float, Tensor
from .vandermonde import split_length


def dense_scan(
    A: Float[Tensor, "H N N"], v: Float[Tensor, "H B L N"], x0: Float[Tensor, "H B N"]
) -> Float[Tensor, "H B L N"]:
    """The states of all steps, x_(-1) = x0; A acts on columns."""
    H, B, L, N = v.shape
    if L == 0:
        return v
    b, blocks = split_length(L)
    padded = F.pad(v, (0, 0, 0, b * blocks - L)).view(H, B * blocks, b, N)
    transposed = A.transpose(1, 2)
    steps = padded.unbind(2)
    ends = steps[0]
    for step in steps[1:]:
        ends = torch.baddbmm(step, ends, transposed)
    whole = transposed
    for _ in range(b.bit_length() - 1):
        whole = torch.bmm(whole, whole)
    x, starts = x0, []
    for end in ends.view(H, B, blocks, N).unbind(2):
        starts.append(x)
        x = torch.baddbmm(end, x, whole)
    x = torch.stack(starts, 2).flatten(1, 2)
    states = []
    for step in steps:
        x = torch.baddbmm(step, x, transposed)
        states.append(x)
    return torch.stack(states, 2).view(H, B, b * blocks, N)[:, :, :L]
