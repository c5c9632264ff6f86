"""Blocks in a row, with pooling between them where asked, and the norm at their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.block import Block, State, make_norm
from s4core.nn.feed_forward import feed_forward
from s4core.nn.gates import MakeMixer, make_gated
from s4core.nn.joint import joint_kernels
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
        kernels = joint_kernels(self.blocks, x, rate)
        for i, block in enumerate(self._blocks()):
            if isinstance(block, BlockPool):
                x = block(x)
                lengths = None if lengths is None else lengths // block.stride
                dt = None if dt is None else block.pool_dt(dt)
                kernels = joint_kernels(self.blocks, x, rate, after=i)
            else:
                x = block(x, lengths, rate, dt, kernels.get(i))
        return self._finish(x)

    def initial_state(self, batch: int) -> State:
        """Make the states of all blocks before the first step."""
        return tuple(block.initial_state(batch) for block in self._blocks())

    def step(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor | None, State]:
        """Run one step (B, d_model); None while a pool waits for its stride to fill."""
        states = list(state)
        for i, block in enumerate(self._blocks()):
            if isinstance(block, BlockPool):
                pooled, dt, states[i] = block.step(x, states[i], dt)
                if pooled is None:
                    return None, tuple(states)
                x = pooled
            else:
                x, states[i] = block.step(x, states[i], dt)
        return (x if self.norm is None else self.norm.step(x)), tuple(states)

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece (B, L, d_model) from the carried states."""
        states = list(state)
        for i, block in enumerate(self._blocks()):
            if x.shape[1] == 0:
                break
            if isinstance(block, BlockPool):
                x, dt, states[i] = block.forward_with_state(x, states[i], dt)
            else:
                x, states[i] = block.forward_with_state(x, states[i], dt)
        return self._finish(x), tuple(states)

    def _blocks(self) -> Iterable[Block | BlockPool]:
        return cast("Iterable[Block | BlockPool]", self.blocks)

    def _finish(self, x: Tensor) -> Tensor:
        return x if self.norm is None else layout.h_last(self.norm(layout.h_first(x)))
