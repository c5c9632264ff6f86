"""SaShiMi's interpolation layers: a network for every `factor`-th frame, blocks for those between.

Frame t answers for frame t + 1. The inner network sees the frames 0, factor, 2 factor, ... and
answers at those before the next of them; the level of stride s sees every s-th frame, the one after
the gap too, and answers for the frame in the middle of the gap. So a coarse signal is made first
and filled in, level by level; one step at a time is impossible.
Source: the interp option of the official SaShiMi.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NoReturn, cast

import torch
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.block import Block, State
from s4core.nn.gates import MakeMixer
from s4core.nn.options import StackOptions
from s4core.nn.unet import UNet, row_of_blocks


class Interpolated(nn.Module):
    """`net` on every factor-th step, and what fills in the others; factor is a power of two >= 2.

    l_max: of the whole sequence; `net` was made for its ceil(l_max / factor) steps.
    """

    stride = 1

    def __init__(
        self,
        net: UNet,
        options: StackOptions,
        *,
        factor: int,
        l_max: int,
        make_mixer: MakeMixer,
    ) -> None:
        super().__init__()
        self.net, self.factor, self.d_output = net, factor, net.d_output
        two = dataclasses.replace(options, n_layers=2, block_pool="none")
        levels = [
            row_of_blocks(
                two,
                d_model=options.d_model,
                l_max=-(-l_max * (1 << i) // factor),
                make_mixer=make_mixer,
            )
            for i in range(factor.bit_length() - 1)
        ]
        self.levels = nn.ModuleList(nn.ModuleList(level) for level in levels)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        rate: float = 1.0,
        dt: Tensor | None = None,
    ) -> Tensor:
        """Run whole sequences (B, L, d_model)."""
        assert dt is None, "the constructor refuses irregular steps"
        length = x.shape[1]
        x, lengths = layout.pad_steps(x, lengths, self.factor)
        # What fills a gap sees the frame after it, which may be padding.
        x = layout.mask_padding(x, lengths)
        coarse = self.net(x[:, :: self.factor], _every(lengths, self.factor), rate)
        y = torch.zeros_like(x, dtype=coarse.dtype)
        y[:, self.factor - 1 :: self.factor] = coarse
        stride = self.factor
        for level in cast("Iterable[Iterable[Block]]", self.levels):
            z = x[:, ::stride]
            for block in level:
                z = block(z, _every(lengths, stride), rate)
            # The answer for a gap has seen the frame after it; the last gap has none.
            after = torch.cat([z[:, 1:], z[:, -1:]], 1)
            if (frames := _every(lengths, stride)) is not None:
                number = torch.arange(1, z.shape[1] + 1, device=z.device)
                after = torch.where((number < frames[:, None])[..., None], after, z)
            y[:, stride // 2 - 1 :: stride] = after.to(y.dtype)
            stride //= 2
        return y[:, :length]

    def initial_state(self, batch: int) -> NoReturn:
        """Raise ValueError: a gap is filled when its end is known."""
        raise ValueError("sashimi with interp looks ahead: it cannot step.")

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> NoReturn:
        """Raise ValueError."""
        self.initial_state(x.shape[0])

    def forward_with_state(self, x: Tensor, state: State, dt: Tensor | None = None) -> NoReturn:
        """Raise ValueError."""
        self.initial_state(x.shape[0])


def _every(lengths: Tensor | None, stride: int) -> Tensor | None:
    return None if lengths is None else -(-lengths // stride)
