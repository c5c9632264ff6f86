"""Mixers made of a mixer: the gated state spaces of GSS and H3."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.activation import ACTIVATIONS, ActivationName
from s4core.nn.block import Mixer, State, run, run_piece, run_step
from s4core.nn.options import StackOptions
from s4core.nn.short_conv import ShortConv

MakeMixer = Callable[[int, int], Mixer]  # (d_model, l_max) -> a new mixer


def make_gated(make_mixer: MakeMixer, options: StackOptions, d_model: int, l_max: int) -> Mixer:
    """Make one mixer, inside of the gates that the options ask for."""
    if options.gates == "gss":
        inner = make_mixer(d_model // options.bottleneck, l_max)
        return GssMixer(
            inner,
            d_model,
            gate=options.gate,
            bottleneck=options.bottleneck,
            gate_act=options.gate_act,
        )
    if options.gates == "h3":
        return H3Mixer(make_mixer(d_model, l_max), d_model, taps=options.shift_taps)
    return make_mixer(d_model, l_max)


class GssMixer(nn.Module):
    """y = W_out mixer(gelu(W_in x)) * gate_act(W_gate x), gate x d_model channels.

    The block's own linear map brings them back to d_model. The inner mixer sees 0 at and beyond
    `lengths`, where the biases would not be.
    Source: GSS, arXiv:2206.13947, fig. 1, where gate_act is gelu.
    """

    takes_lengths: ClassVar[bool] = True

    def __init__(
        self, mixer: Mixer, d_model: int, *, gate: int, bottleneck: int, gate_act: ActivationName
    ) -> None:
        super().__init__()
        assert isinstance(mixer, nn.Module)
        self.d_output = gate * d_model
        self.mixer, self.gate_act = mixer, ACTIVATIONS[gate_act]
        self.to_gate = nn.Linear(d_model, self.d_output)
        self.to_mixer = nn.Linear(d_model, d_model // bottleneck)
        self.from_mixer = nn.Linear(mixer.d_output, self.d_output)

    def forward(
        self,
        x: Tensor,
        rate: float = 1.0,
        dt: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Run a whole sequence (B, L, d_model)."""
        u = layout.mask_padding(self._enter(x), lengths)
        return self._gate(x, run(self.mixer, u, rate, dt))

    def initial_state(self, batch: int) -> State:
        """Make the inner mixer's state."""
        return self.mixer.initial_state(batch)

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step (B, d_model)."""
        y, state = run_step(self.mixer, self._enter(x), state, dt)
        return self._gate(x, y), state

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece (B, l, d_model)."""
        y, state = run_piece(self.mixer, self._enter(x), state, dt)
        return self._gate(x, y), state

    def _enter(self, x: Tensor) -> Tensor:
        return F.gelu(self.to_mixer(x))

    def _gate(self, x: Tensor, y: Tensor) -> Tensor:
        gated: Tensor = self.from_mixer(y) * self.gate_act(self.to_gate(x))
        return gated


class H3Mixer(nn.Module):
    """y = q * mixer(shift(k) * v) with q, k, v linear in x and shift a short causal filter.

    Heads have one dimension; lengths as in `GssMixer`.  Source: H3, arXiv:2212.14052, algorithm 1.
    """

    takes_lengths: ClassVar[bool] = True

    def __init__(self, mixer: Mixer, d_model: int, *, taps: int) -> None:
        super().__init__()
        assert isinstance(mixer, nn.Module)
        if mixer.d_output != d_model:
            raise ValueError(f"gates h3 needs channels 1, got {mixer.d_output // d_model}.")
        self.d_output = d_model
        self.mixer = mixer
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.shift = ShortConv(d_model, taps)

    def forward(
        self,
        x: Tensor,
        rate: float = 1.0,
        dt: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Run a whole sequence (B, L, d_model)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        u = layout.mask_padding(self.shift(k) * v, lengths)
        y: Tensor = q * run(self.mixer, u, rate, dt)
        return y

    def initial_state(self, batch: int) -> State:
        """Make the states of the filter and of the mixer."""
        return self.shift.initial_state(batch), self.mixer.initial_state(batch)

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step (B, d_model)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        k, shift = self.shift.step(k, state[0])
        y, inner = run_step(self.mixer, k * v, state[1], dt)
        return q * y, (shift, inner)

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece (B, l, d_model)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        k, shift = self.shift.forward_with_state(k, state[0])
        y, inner = run_piece(self.mixer, k * v, state[1], dt)
        return q * y, (shift, inner)
