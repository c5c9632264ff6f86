"""The position-wise feed-forward block, as a block whose mixer mixes no time at all."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.block import Block, State
from s4core.nn.options import StackOptions


class Pointwise(nn.Module):
    """A mixer without memory: one linear map of each step to expand * d_model channels."""

    takes_dt = True

    def __init__(self, d_model: int, expand: int) -> None:
        super().__init__()
        self.d_output = expand * d_model
        self.linear = nn.Linear(d_model, self.d_output)

    def forward(self, x: Tensor, rate: float = 1.0, dt: Tensor | None = None) -> Tensor:
        """Map (B, L, d_model) to (B, L, d_output)."""
        return layout.h_last(layout.linear(self.linear, layout.h_first(x)))

    def initial_state(self, batch: int) -> State:
        """Nothing to remember."""
        return ()

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Map (B, d_model) to (B, d_output)."""
        return self.linear(x), state

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Map a piece."""
        return self(x), state


def feed_forward(options: StackOptions, *, d_model: int, expand: int, index: int) -> Block:
    """Make the block x + W2 dropout(activation(W1 x)), normalised and joined as the others are."""
    inner = dataclasses.replace(options, final_act="linear", gates="none")
    if inner.activation == "none":
        inner = dataclasses.replace(inner, activation="gelu")
    return Block(Pointwise(d_model, expand), inner, d_model=d_model, index=index)
