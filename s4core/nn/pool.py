"""Shorter sequences: pooling between blocks, by a stride that starts anew with each sequence.

A remainder of steps that does not fill a stride is dropped; one step at a time, a pool waits for
its stride to fill and says None until then.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.options import BlockPoolName

# The steps that wait, each (B, H), and where steps are irregular their dt, each (B,).
PoolState = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


class BlockPool(nn.Module):
    """Pool every `stride` steps to one: avg, max, sample (the first), linear or spectral.

    linear stacks the steps of a stride and maps d_model * stride channels to d_model * expand; the
    others are followed by such a map where expand > 1. spectral keeps the frequencies that the
    longer step can hold and needs the whole sequence: it cannot step.
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
        h = h[:, :, : length * self.stride]
        if self.kind == "spectral":
            h = _without_high_frequencies(h, length)
        else:
            h = self._reduce(h.reshape(*h.shape[:2], length, self.stride).movedim(-1, 1))
        return layout.h_last(h if self.linear is None else layout.linear(self.linear, h))

    def pool_dt(self, dt: Tensor) -> Tensor:
        """Add up the dt (B, L) of the steps that become one: (B, L // stride)."""
        length = dt.shape[1] // self.stride
        return dt[:, : length * self.stride].reshape(len(dt), length, self.stride).sum(-1)

    def initial_state(self, batch: int) -> PoolState:
        """No step waits; ValueError for a spectral pool."""
        if self.kind == "spectral":
            raise ValueError("a spectral pool has no step mode: it needs the whole sequence.")
        return (), ()

    def step(
        self, x: Tensor, state: PoolState, dt: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None, PoolState]:
        """Take one step (B, H) and its dt (B,); give those of a stride that is full, else None."""
        steps, times = (*state[0], x), state[1] if dt is None else (*state[1], dt)
        if len(steps) < self.stride:
            return None, None, (steps, times)
        y = self._reduce(torch.stack(steps, dim=1).transpose(0, 2)).t()
        y = y if self.linear is None else self.linear(y)
        return y, None if dt is None else torch.stack(times).sum(0), ((), ())

    def forward_with_state(
        self, x: Tensor, state: PoolState, dt: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, PoolState]:
        """Pool a piece (B, L, H) with its dt (B, L) after the steps that wait; the rest waits."""
        x, times = _after(state[0], x), state[1]
        done = x.shape[1] // self.stride * self.stride
        if dt is not None:
            dt = _after(times, dt)
            dt, times = self.pool_dt(dt), dt[:, done:].unbind(1)
        return self(x[:, :done]), dt, (x[:, done:].unbind(1), times)

    def _reduce(self, pieces: Tensor) -> Tensor:
        """(H, stride, ...) to (H, ...), or of all steps of a stride to channels "(h s)"."""
        if self.kind == "linear":
            return pieces.flatten(0, 1)
        if self.kind == "avg":
            return pieces.mean(1)
        return pieces.amax(1) if self.kind == "max" else pieces[:, 0]


def _without_high_frequencies(x: Tensor, length: int) -> Tensor:
    """Resample (H, B, L) to `length` steps: a constant stays what it is."""
    wide = torch.promote_types(x.dtype, torch.float32)
    low = torch.fft.rfft(x.to(wide), norm="forward")[..., : length // 2 + 1]
    y: Tensor = torch.fft.irfft(low, n=length, norm="forward").to(x.dtype)
    return y


def _after(waiting: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return torch.cat([torch.stack(waiting, dim=1), x], dim=1) if waiting else x
