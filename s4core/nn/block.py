"""One residual block: norm, mixer, activation, dropout, channel mixing, dropout, sum.

x is (B, L, H) with the memory of (H, B, L) (see nn/layout.py); all three ways of running it agree:
`forward` over a whole sequence, `forward_with_state` over a piece, `step` over one step.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn import layout
from s4core.nn.activation import Output
from s4core.nn.norm import Norm
from s4core.nn.options import StackOptions
from s4core.nn.residual import Residual

State = Any  # tensors, nested in tuples; what a layer has to remember of the past


class Mixer(Protocol):
    """A layer that mixes along time, from d_model to d_output channels, causal if it can step.

    It is an nn.Module; forward takes x (B, L, d_model), `rate` (1 the training grid, 2 half of the
    samples) and, if the class says `takes_dt = True`, `dt` (B, L); any strides.  Its step then
    takes dt (B,), its forward_with_state (B, l).
    """

    d_output: int

    def __call__(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Run a whole sequence from the zero state: (B, L, d_output)."""

    def initial_state(self, batch: int) -> State:
        """Make the state before the first step."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step: x (B, d_model) to (B, d_output)."""

    def forward_with_state(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run a piece of a sequence from a carried state."""


class Block(nn.Module):
    """A mixer with all that is around it; index counts the blocks of a stack from 1."""

    def __init__(self, mixer: Mixer, options: StackOptions, *, d_model: int, index: int) -> None:
        super().__init__()
        assert isinstance(mixer, nn.Module)
        self.mixer = mixer
        rule = options.dropout_rule
        self.p_before = options.dropout if rule == "s4_head" else 0.0
        self.output = Output(
            mixer.d_output,
            d_model,
            activation=options.activation,
            final_act=options.final_act,
            dropout=0.0 if rule == "branch" else options.dropout,
            branch_dropout=0.0 if rule == "inner" else options.dropout,
            tie_dropout=options.tie_dropout,
            drop_path=options.drop_path * (index - 1) / max(1, options.n_layers - 1),
            weight_norm=options.weight_norm,
        )
        self.residual = Residual(options.residual, d_model, index)
        has_prenorm = options.prenorm or options.double_norm
        has_postnorm = not options.prenorm or options.double_norm
        self.prenorm = make_norm(options, d_model) if has_prenorm else None
        self.postnorm = make_norm(options, d_model) if has_postnorm else None

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        rate: float = 1.0,
        dt: Tensor | None = None,
        kernel: Tensor | None = None,
    ) -> Tensor:
        """Map (B, L, H) to (B, L, H); the mixer sees 0 at and beyond `lengths`.

        kernel: that of an SSMLayer, where it is known already.
        """
        u = layout.h_last(self._enter(layout.h_first(x), lengths))
        if kernel is not None:
            y = self.mixer(u, rate, kernel=kernel)  # type: ignore[call-arg]
        else:
            y = run(self.mixer, u, rate, layout.even_dt(dt, lengths), lengths)
        return layout.h_last(self._leave(layout.h_first(x), layout.h_first(y)))

    def initial_state(self, batch: int) -> State:
        """Make the state before the first step; ValueError for what sees the whole sequence."""
        for norm in (self.prenorm, self.postnorm):
            if norm is not None:
                norm.check_steps()
        return self.mixer.initial_state(batch)

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run the piece x (B, L, H) from a carried state."""
        u = self._enter(layout.h_first(x), None)
        y, state = run_piece(self.mixer, layout.h_last(u), state, dt)
        return layout.h_last(self._leave(layout.h_first(x), layout.h_first(y))), state

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step x (B, H), as in eval mode: no dropout, batch norm by running statistics."""
        u = x if self.prenorm is None else self.prenorm.step(x)
        y, state = run_step(self.mixer, u, state, dt)
        y = self.output.step(y)
        z = x + y if self.residual.kind == "add" else self.residual(x, y, -1)
        return (z if self.postnorm is None else self.postnorm.step(z)), state

    def _enter(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        u = x if self.prenorm is None else self.prenorm(x)
        return layout.mask_steps(u, lengths)

    def _leave(self, x: Tensor, y: Tensor) -> Tensor:
        if self.p_before and self.training:
            y = F.dropout(y, self.p_before)
        if self.postnorm is not None and self.residual.kind == "add":
            end = self.postnorm.after(x)
            if end is not None and self.output.is_fused(y):
                return self.output.fused(y, end)
            return self.postnorm.of_sum(x, self.output(y))
        y = self.output(y)
        z = self.residual(x, y)
        return z if self.postnorm is None else self.postnorm(z)  # type: ignore[no-any-return]


def run(
    mixer: Mixer, x: Tensor, rate: float, dt: Tensor | None, lengths: Tensor | None = None
) -> Tensor:
    """Call a mixer, with dt where there is one (the model's constructor saw that it takes it).

    lengths go to a mixer whose class says `takes_lengths = True`.
    """
    more = {} if dt is None else {"dt": dt}
    if lengths is not None and getattr(mixer, "takes_lengths", False):
        more["lengths"] = lengths
    y: Tensor = mixer(x, rate, **more)
    return y


def run_step(mixer: Mixer, x: Tensor, state: State, dt: Tensor | None) -> tuple[Tensor, State]:
    """Step a mixer, with dt (B,) where there is one."""
    return mixer.step(x, state) if dt is None else mixer.step(x, state, dt=dt)  # type: ignore[call-arg]


def run_piece(mixer: Mixer, x: Tensor, state: State, dt: Tensor | None) -> tuple[Tensor, State]:
    """Run a mixer over a piece, with dt (B, l) where there is one."""
    if dt is None:
        return mixer.forward_with_state(x, state)
    return mixer.forward_with_state(x, state, dt=dt)  # type: ignore[call-arg]


def takes_dt(module: object) -> bool:
    """Whether every mixer in `module` can scale its step by a dt for each step of the input."""
    assert isinstance(module, nn.Module)
    mixers = [m.mixer for m in module.modules() if hasattr(m, "mixer")]
    return all(getattr(m, "takes_dt", hasattr(m, "mixer")) for m in mixers)


def make_norm(options: StackOptions, d_model: int) -> Norm:
    """Make the norm that the options ask for."""
    return Norm(options.norm, d_model, eps=options.norm_eps, momentum=options.norm_momentum)
