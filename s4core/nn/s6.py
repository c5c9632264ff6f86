"""S6, the mixer of Mamba-1: a diagonal real system whose dt, B and C depend on the input."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn.block import State
from s4core.nn.selective_scan import selective_scan, selective_step
from s4core.nn.short_conv import ShortConv
from s4core.ops.precision import full_precision
from s4core.ssm.transforms import initial_dt, unconstrained


class S6(nn.Module):
    """in -> [x, z]; y = scan(silu(conv(x))); out(y * silu(z)), d_model to d_model.

    d_state: states N of each of expand * d_model features; dt_rank: width of the map to dt.
    rate and dt scale the step that the input asks for.  Source: Mamba, arXiv:2312.00752, section 3.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_log", "dt_bias")
    takes_dt = True

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int,
        expand: int,
        d_conv: int,
        dt_rank: int,
        dt_min: float,
        dt_max: float,
    ) -> None:
        super().__init__()
        self.d_output, self.d_state, self.dt_rank = d_model, d_state, dt_rank
        inner = expand * d_model
        self.enter = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv = ShortConv(inner, d_conv)
        self.select = nn.Linear(inner, dt_rank + 2 * d_state, bias=False)
        self.to_dt = nn.Linear(dt_rank, inner, bias=False)
        nn.init.uniform_(self.to_dt.weight, -(dt_rank**-0.5), dt_rank**-0.5)
        dt = initial_dt((inner,), dt_min, dt_max)
        self.dt_bias = nn.Parameter(unconstrained(dt, "softplus"))
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.leave = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Tensor, rate: float = 1.0, dt: Tensor | None = None) -> Tensor:
        """Run whole sequences (B, L, d_model)."""
        return self._run(x, self.initial_state(x.shape[0]), rate, dt)[0]

    def initial_state(self, batch: int) -> State:
        """The inputs that the filter remembers, x = 0, and A of this moment."""
        inner = self.D.shape[0]
        x = self.D.new_zeros(batch, inner, self.d_state)
        return self.conv.initial_state(batch), x, -self.A_log.exp()

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece of a sequence."""
        return self._run(x, state, 1.0, dt)

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step (B, d_model); dt (B,): its length in training steps."""
        u, z = self.enter(x).chunk(2, dim=-1)
        u, filtered = self.conv.step(u, state[0])
        u = F.silu(u)
        step, B, C = self._select(u)
        step = step if dt is None else step * dt[:, None]
        inner, y = selective_step(u, step, state[2], B, C, state[1])
        y = torch.addcmul(y, self.D, u)
        return self.leave(y * F.silu(z)), (filtered, inner, state[2])

    def _run(self, x: Tensor, state: State, rate: float, dt: Tensor | None) -> tuple[Tensor, State]:
        u, z = self.enter(x).chunk(2, dim=-1)
        u, filtered = self.conv.forward_with_state(u, state[0].to(u.dtype))
        u = F.silu(u)
        step, B, C = self._select(u)
        y, inner = self._scan(u, step * rate, B, C, state, dt)
        return self.leave((y + self.D * u) * F.silu(z)), (filtered, inner, state[2])

    @full_precision
    def _scan(
        self, u: Tensor, step: Tensor, B: Tensor, C: Tensor, state: State, dt: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        u, step, B, C = (v.to(self.A_log.dtype) for v in (u, step, B, C))
        step = step if dt is None else step * dt[..., None].to(step.dtype)
        return selective_scan(u, step, state[2], B, C, state[1])

    def _select(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [self.dt_rank, self.d_state, self.d_state]
        dt, B, C = self.select(u).split(sizes, dim=-1)
        return F.softplus(F.linear(dt, self.to_dt.weight, self.dt_bias)), B, C
