"""Blocks in a row, with pooling between them where asked, and the norm at their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.block import Block, State, make_norm
from s4core.nn.feed_forward import feed_forward
from s4core.nn.gates import MakeMixer, make_gated
from s4core.nn.options import StackOptions
from s4core.nn.pool import BlockPool


class Stack(nn.Module):
    """n_layers blocks: (B, L, d_model) to (B, L // stride, d_output).

    l_max is the longest sequence; make_mixer(d_model, l_max) is called for every block in turn.
    """

    def __init__(self, options: StackOptions, *, l_max: int, make_mixer: MakeMixer) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        d_model, length, stride = options.d_model, l_max, 1
        for index in range(1, options.n_layers + 1):
            mixer = make_gated(make_mixer, options, d_model, length)
            blocks.append(Block(mixer, options, d_model=d_model, index=index))
            if options.ff:
                blocks.append(
                    feed_forward(options, d_model=d_model, expand=options.ff, index=index)
                )
            shorter = length // options.pool_stride
            pools = options.block_pool != "none" and index % options.pool_every == 0
            if pools and shorter > options.pool_stride:
                pool = BlockPool(
                    options.block_pool,
                    d_model,
                    stride=options.pool_stride,
                    expand=options.pool_expand,
                )
                blocks.append(pool)
                d_model, length = pool.d_output, shorter
                stride *= options.pool_stride
        self.blocks = nn.ModuleList(blocks)
        has_final = options.final_norm and options.prenorm and not options.double_norm
        self.norm = make_norm(options, d_model) if has_final else None
        self.d_output, self.stride = d_model, stride

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        rate: float = 1.0,
        dt: Tensor | None = None,
    ) -> Tensor:
        """Run all blocks over x (B, L, d_model)."""
        for block in self._blocks():
            if isinstance(block, BlockPool):
                x = block(x)
                lengths = None if lengths is None else lengths // block.stride
                dt = None if dt is None else _pool_dt(dt, block.stride)
            else:
                x = block(x, lengths, rate, dt)
        return self._finish(x)

    def initial_state(self, batch: int) -> State:
        """Make the states of all blocks before the first step; of a pool, with the dt that wait."""
        return tuple(
            (block.initial_state(batch), ()) if isinstance(block, BlockPool)
            else block.initial_state(batch)
            for block in self._blocks()
        )  # fmt: skip

    def step(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor | None, State]:
        """Run one step (B, d_model); None while a pool waits for its stride to fill."""
        states = list(state)
        for i, block in enumerate(self._blocks()):
            if not isinstance(block, BlockPool):
                x, states[i] = block.step(x, states[i], dt)
                continue
            inner, waiting = states[i]
            y, inner = block.step(x, inner)
            waiting = waiting if dt is None else (*waiting, dt)
            if y is None:
                states[i] = (inner, waiting)
                return None, tuple(states)
            x, dt, states[i] = y, None if dt is None else sum(waiting), (inner, ())
        return (x if self.norm is None else self.norm.step(x)), tuple(states)

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece (B, L, d_model) from the carried states."""
        states = list(state)
        for i, block in enumerate(self._blocks()):
            if x.shape[1] == 0:
                break
            if not isinstance(block, BlockPool):
                x, states[i] = block.forward_with_state(x, states[i], dt)
                continue
            inner, waiting = states[i]
            x, inner = block.forward_with_state(x, inner)
            if dt is not None:
                dt = torch.cat([*(t[:, None] for t in waiting), dt], 1)
                done = x.shape[1] * block.stride
                dt, waiting = _pool_dt(dt, block.stride), tuple(dt[:, done:].unbind(1))
            states[i] = (inner, waiting)
        return self._finish(x), tuple(states)

    def _blocks(self) -> Iterable[Block | BlockPool]:
        return cast("Iterable[Block | BlockPool]", self.blocks)

    def _finish(self, x: Tensor) -> Tensor:
        return x if self.norm is None else layout.h_last(self.norm(layout.h_first(x)))


def _pool_dt(dt: Tensor, stride: int) -> Tensor:
    length = dt.shape[1] // stride
    return dt[:, : length * stride].reshape(-1, length, stride).sum(-1)
