"""S4ND: a state space system along each axis of an image or video, their outer product the kernel.

The N-dimensional kernel is never made: convolving with an outer product is convolving along one
axis after the other, and each of these is the fast 1-D convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.ops import fft_conv


class S4ND(nn.Module):
    """y = (1 / T) sum_r (K_r1 x ... x K_rd) * u + D u, K_ri the r-th kernel along axis i.

    systems: one for each axis, with channels * trank kernels (twice as many if bidirectional, the
    second half acts backwards), in the order "(direction r c)". axes: the extents at rate 1; the
    input is a row-major flattening of them, (B, L1 * ... * Ld, H); a single axis may be shorter.
    l_max: how far the kernels reach along each axis at rate 1, None over all of it; beyond they are
    0, as published where the input is larger than l_max.
    mix: sum over the features, so that the output has `channels` features, each with a kernel for
    every one of the input (a full convolution).
    Source: S4ND, arXiv:2210.06583, eqs. 6 to 9 and appendix B for the rank.
    """

    def __init__(
        self,
        systems: Sequence[Any],
        axes: tuple[int, ...],
        *,
        channels: int = 1,
        trank: int = 1,
        bidirectional: bool = True,
        mix: bool = False,
        l_max: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        kernels = channels * trank * (2 if bidirectional else 1)
        if len(systems) != len(axes) or any(s.channels != kernels for s in systems):
            raise ValueError(f"need a system of {kernels} kernels for each of the axes {axes}.")
        self.systems = nn.ModuleList(systems)
        self.axes, self.trank, self.bidirectional = axes, trank, bidirectional
        self.l_max = axes if l_max is None else l_max
        self.d_model: int = systems[0].d_model
        self.mix, self.d_output = mix, channels if mix else channels * self.d_model
        self.D = nn.Parameter(torch.randn(channels, self.d_model))

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Map (B, L, H) to (B, L, channels * H); at `rate` every axis has round(extent / rate)."""
        extents = [round(extent / rate) for extent in self.axes]
        if len(extents) == 1:
            extents = [min(x.shape[1], *extents)]  # a sequence may be shorter, an image may not
        if x.shape[1] != math.prod(extents):
            raise ValueError(
                f"want {' x '.join(map(str, extents))} = {math.prod(extents)} steps at rate "
                f"{rate:g}, got {x.shape[1]}."
            )
        u = x.transpose(1, 2)
        y = u.reshape(x.shape[0], self.d_model, *extents)
        for i, system in enumerate(self.systems):
            reach = min(extents[i], max(1, round(self.l_max[i] / rate)))
            k: Tensor = system.kernel(reach, rate)  # type: ignore[operator]
            k = k if reach == extents[i] else F.pad(k, (0, extents[i] - reach))
            y = self._along(y, k, i + 2)
        y = y.reshape(x.shape[0], self.trank, *self.D.shape, x.shape[1]).mean(1)
        y = y + u.unsqueeze(1) * self.D[..., None]
        return (y.sum(2) if self.mix else y.flatten(1, 2)).transpose(1, 2)

    def _along(self, y: Tensor, k: Tensor, axis: int) -> Tensor:
        # The first axis spreads the features over ranks and channels, the others keep them.
        k, reverse = k.reshape(-1, y.shape[1], k.shape[-1]), None
        if self.bidirectional:
            k, reverse = k.chunk(2)
        moved = y.movedim(axis, -1).movedim(1, -2)  # (B, others, features, L)
        others = moved.shape[:-2]
        z = fft_conv(moved.reshape(-1, *moved.shape[-2:]), k, k_reverse=reverse)
        return z.reshape(*others, *z.shape[-2:]).movedim(-2, 1).movedim(-1, axis)

    def initial_state(self, batch: int) -> NoReturn:
        """Raise ValueError: an image has no next step."""
        raise ValueError("s4nd sees all axes at once: it cannot step.")

    def step(self, x: Tensor, state: Any) -> NoReturn:
        """Raise ValueError."""
        self.initial_state(x.shape[0])

    def forward_with_state(self, x: Tensor, state: Any) -> NoReturn:
        """Raise ValueError."""
        self.initial_state(x.shape[0])
