"""Shorter sequences: pooling between blocks, by a stride that starts anew with each sequence.

A remainder of steps that does not fill a stride is dropped; one step at a time, a pool waits for
its stride to fill and says None until then.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.options import BlockPoolName

PoolState = tuple[Tensor, ...]  # the steps that wait, each (B, H)


class BlockPool(nn.Module):
    """Pool every `stride` steps to one: avg, max, sample (the first), or linear.

    linear stacks the steps of a stride and maps d_model * stride channels to d_model * expand; the
    others are followed by such a map where expand > 1.
    """

    def __init__(self, kind: BlockPoolName, d_model: int, *, stride: int, expand: int = 1) -> None:
        super().__init__()
        self.kind, self.stride = kind, stride
        self.d_output = d_model * expand
        self.linear: nn.Linear | None = None
        if kind == "linear" or expand > 1:
            width = d_model * (stride if kind == "linear" else 1)
            self.linear = nn.Linear(width, self.d_output)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, H) to (B, L // stride, d_output)."""
        h = layout.h_first(x)
        length = h.shape[2] // self.stride
        pieces = h[:, :, : length * self.stride].reshape(*h.shape[:2], length, self.stride)
        h = self._reduce(pieces.movedim(-1, 1))
        return layout.h_last(h if self.linear is None else layout.linear(self.linear, h))

    def initial_state(self, batch: int) -> PoolState:
        """No step waits."""
        return ()

    def step(self, x: Tensor, state: PoolState) -> tuple[Tensor | None, PoolState]:
        """Take one step (B, H); give (B, d_output) when a stride is full, else None."""
        state = (*state, x)
        if len(state) < self.stride:
            return None, state
        y = self._reduce(torch.stack(state, dim=1).transpose(0, 2)).t()
        return (y if self.linear is None else self.linear(y)), ()

    def forward_with_state(self, x: Tensor, state: PoolState) -> tuple[Tensor, PoolState]:
        """Pool a piece (B, L, H) after the steps that wait; the remainder waits."""
        if state:
            x = torch.cat([torch.stack(state, dim=1), x], dim=1)
        done = x.shape[1] // self.stride * self.stride
        return self(x[:, :done]), tuple(x[:, done:].unbind(1))

    def _reduce(self, pieces: Tensor) -> Tensor:
        """(H, stride, ...) to (H, ...), or of all steps of a stride to channels "(h s)"."""
        if self.kind == "linear":
            return pieces.flatten(0, 1)
        if self.kind == "avg":
            return pieces.mean(1)
        return pieces.amax(1) if self.kind == "max" else pieces[:, 0]
