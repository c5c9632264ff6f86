"""SaShiMi's U-Net: tiers of shorter and wider sequences around a centre, causal and steppable.

A tier is [blocks] - pool - inner tier - unpool - blocks, with additive skips; the innermost one is
a plain row of blocks with a skip around it. Written as a recursion, the modes need no bookkeeping
of skips.  Source: SaShiMi, arXiv:2202.09729, figure 1 and section 4.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.block import Block, State
from s4core.nn.feed_forward import feed_forward
from s4core.nn.gates import MakeMixer, make_gated
from s4core.nn.joint import joint_kernels
from s4core.nn.norm import Norm
from s4core.nn.options import StackOptions
from s4core.nn.pool import BlockPool


class UpPool(nn.Module):
    """Lengthen a sequence: Linear(H to H / expand * stride), late by one step, then unfold.

    Being late by one keeps the U-Net causal: the answer of a pooled step, which has seen `stride`
    inputs, is only given out after the last of them. The first `stride` outputs are 0.
    """

    def __init__(self, d_input: int, *, stride: int, expand: int) -> None:
        super().__init__()
        self.stride, self.d_output = stride, d_input // expand
        self.linear = nn.Linear(d_input, self.d_output * stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, H) to (B, L * stride, H / expand)."""
        h = F.pad(layout.linear(self.linear, layout.h_first(x)), (1, -1))
        unfolded = h.reshape(self.d_output, self.stride, *h.shape[1:])  # channels "(h s)"
        return layout.h_last(unfolded.permute(0, 2, 3, 1).flatten(2))

    def initial_state(self, batch: int) -> State:
        """The outputs to come, each (B, H / expand): zeros."""
        return (self.linear.weight.new_zeros(batch, self.d_output),) * self.stride

    def give(self, state: State) -> tuple[Tensor, State]:
        """Take the next output out of the state."""
        return state[0], state[1:]

    def take(self, x: Tensor) -> State:
        """Turn a pooled step (B, H) into the next `stride` outputs."""
        return tuple(self.linear(x).view(x.shape[0], self.d_output, self.stride).unbind(-1))


def row_of_blocks(
    options: StackOptions, *, d_model: int, l_max: int, make_mixer: MakeMixer
) -> list[Block]:
    """Make n_layers blocks, each with its feed-forward block if there is one."""
    made: list[Block] = []
    for index in range(1, options.n_layers + 1):
        mixer = make_gated(make_mixer, options, d_model, l_max)
        made.append(Block(mixer, options, d_model=d_model, index=index))
        if options.ff:
            made.append(feed_forward(options, d_model=d_model, expand=options.ff, index=index))
    return made


class Tier(nn.Module):
    """One tier and all below it; `pools` are the strides from here on, () for the centre.

    ff_center: width of the centre's feed-forward blocks, None is that of the others.
    """

    def __init__(
        self,
        options: StackOptions,
        *,
        d_model: int,
        l_max: int,
        pools: tuple[int, ...],
        expand: int,
        unet: bool,
        make_mixer: MakeMixer,
        ff_center: int | None = None,
    ) -> None:
        super().__init__()
        here = options if pools or ff_center is None else dataclasses.replace(options, ff=ff_center)

        def blocks() -> list[Block]:
            return row_of_blocks(here, d_model=d_model, l_max=l_max, make_mixer=make_mixer)

        self.is_centre, self.unet = not pools, unet
        self.down = nn.ModuleList(blocks() if unet and pools else ())
        if pools:
            self.pool = BlockPool("linear", d_model, stride=pools[0], expand=expand)
            self.inner = Tier(
                options,
                d_model=d_model * expand,
                l_max=-(-l_max // pools[0]),
                pools=pools[1:],
                expand=expand,
                unet=unet,
                make_mixer=make_mixer,
                ff_center=ff_center,
            )
            self.unpool = UpPool(d_model * expand, stride=pools[0], expand=expand)
        self.up = nn.ModuleList(blocks())

    def forward(self, x: Tensor, lengths: Tensor | None, rate: float) -> Tensor:
        """Run x (B, L, d_model), L divisible by all strides."""
        skips = [x]
        kernels = joint_kernels(self.down, x, rate)
        for i, block in enumerate(_blocks(self.down)):
            x = block(x, lengths, rate, None, kernels.get(i))
            skips.append(x)
        if not self.is_centre:
            inner = None if lengths is None else -(-lengths // self.pool.stride)
            x = self.unpool(self.inner(self.pool(x), inner, rate)) + skips.pop()
            skips = skips if self.unet else [x]
        kernels = joint_kernels(self.up, x, rate)
        for i, block in enumerate(_blocks(self.up)):
            x = block(x, lengths, rate, None, kernels.get(i))
            x = x + skips.pop() if self.unet and not self.is_centre else x
        return x + skips.pop() if skips else x

    def initial_state(self, batch: int) -> State:
        """Make the states of down blocks, pool, inner tier, unpool and up blocks."""
        down = tuple(b.initial_state(batch) for b in _blocks(self.down))
        up = tuple(b.initial_state(batch) for b in _blocks(self.up))
        if self.is_centre:
            return down, None, None, None, up
        inner = self.inner.initial_state(batch), self.unpool.initial_state(batch)
        return down, self.pool.initial_state(batch), *inner, up

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step of this tier (B, d_model); the inner tier runs when the pool is full."""
        down, pooled, inner, waiting, up = state
        down, up, skips = list(down), list(up), [x]
        for i, block in enumerate(_blocks(self.down)):
            x, down[i] = block.step(x, down[i])
            skips.append(x)
        if not self.is_centre:
            y, _, pooled = self.pool.step(x, pooled)
            late, waiting = self.unpool.give(waiting)
            if y is not None:
                y, inner = self.inner.step(y, inner)
                waiting = self.unpool.take(y)
            x = late + skips.pop()
            skips = skips if self.unet else [x]
        for i, block in enumerate(_blocks(self.up)):
            x, up[i] = block.step(x, up[i])
            x = x + skips.pop() if self.unet and not self.is_centre else x
        x = x + skips.pop() if skips else x
        return x, (tuple(down), pooled, inner, waiting, tuple(up))


class UNet(nn.Module):
    """Tiers with the strides `pools` around n_layers blocks each; no pools: one plain tier.
    The last norm is a LayerNorm, whatever the blocks have, as published.

    A sequence is padded with zeros to a multiple of all strides, which a causal model cannot see.
    """

    stride = 1

    def __init__(
        self,
        options: StackOptions,
        *,
        l_max: int,
        pools: tuple[int, ...],
        expand: int,
        unet: bool,
        make_mixer: MakeMixer,
        ff_center: int | None = None,
    ) -> None:
        super().__init__()
        self.multiple = 1
        for stride in pools:
            self.multiple *= stride
        self.top = Tier(
            dataclasses.replace(options, block_pool="none"),
            d_model=options.d_model,
            l_max=-(-l_max // self.multiple) * self.multiple,
            pools=pools,
            expand=expand,
            unet=unet,
            make_mixer=make_mixer,
            ff_center=ff_center,
        )
        self.norm = Norm("layer", options.d_model) if options.final_norm else None
        self.d_output = options.d_model

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
        x, lengths = layout.pad_steps(x, lengths, self.multiple)
        x = layout.mask_padding(x, lengths)  # a stride may be padding in part
        h = layout.h_first(self.top(x, lengths, rate))[:, :, :length]
        return layout.h_last(h if self.norm is None else self.norm(h))

    def initial_state(self, batch: int) -> State:
        """Make the states of all tiers."""
        return self.top.initial_state(batch)

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step (B, d_model)."""
        assert dt is None, "the constructor refuses irregular steps"
        y, state = self.top.step(x, state)
        return (y if self.norm is None else self.norm.step(y)), state

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece from the carried states, step by step: pieces may end inside of a stride."""
        outputs = []
        for x_t in x.unbind(1):
            y, state = self.step(x_t, state, dt)
            outputs.append(y)
        return torch.stack(outputs, 1) if outputs else x, state


def _blocks(modules: nn.ModuleList) -> Iterable[Block]:
    return cast("Iterable[Block]", modules)
