"""The linear recurrent unit: a diagonal complex recurrence that is discrete from the start."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from s4core.ops.interleaved import from_interleaved, interleaved, real_columns, real_rows
from s4core.ops.mimo import state_scan
from s4core.ops.precision import full_precision
from s4core.ops.scan import linear_scan
from s4core.ssm.modes import StepState
from s4core.ssm.transforms import DT_RANGE


class LRU(nn.Module):
    """x_k = a * x_(k-1) + exp(gamma) * (B u_k), y = Re(C x) + D u, a = exp(-e^nu + i e^theta).

    d_state: complex states, shared by all features; |a| starts uniform in area between r_min and
    r_max, its phase below max_phase. At a rate or dt r other than 1: a^r, and the input's gain
    times (1 - a^r) / (1 - a), as if it were held.  Source: arXiv:2303.06349, section 3.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("nu", "theta", "gamma", "B")
    takes_dt: ClassVar[bool] = True

    def __init__(
        self, d_model: int, *, d_state: int, r_min: float, r_max: float, max_phase: float
    ) -> None:
        super().__init__()
        self.d_output = d_model
        area = torch.rand(d_state) * (r_max**2 - r_min**2) + r_min**2
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(area)))
        self.theta = nn.Parameter(torch.log(max_phase * torch.rand(d_state).clamp_min(1e-9)))
        self.gamma = nn.Parameter(0.5 * torch.log1p(-area))
        self.B = nn.Parameter(torch.randn(2, d_state, d_model) / (2.0 * d_model) ** 0.5)
        self.C = nn.Parameter(torch.randn(2, d_model, d_state) / d_state**0.5)
        self.D = nn.Parameter(torch.randn(d_model))

    def forward(self, u: Tensor, rate: float = 1.0, dt: Tensor | None = None) -> Tensor:
        """Scan whole sequences (B, L, H); dt (B, L): time since the step before, 1 is regular."""
        return self._scan(u, None, rate, dt)[0]

    def forward_with_state(
        self, u: Tensor, state: StepState, dt: Tensor | None = None
    ) -> tuple[Tensor, StepState]:
        """Scan a piece from a carried state."""
        y, x = self._scan(u, state.x, 1.0, dt)
        return y, state._replace(x=x)

    def initial_state(self, batch: int) -> StepState:
        """x = 0 (B, d_state), with the coefficients of this moment."""
        B, C = self._maps()
        log_a = self._log_a()
        a = torch.exp(log_a).to(B.dtype)
        x = torch.zeros(batch, len(a), dtype=a.dtype, device=a.device)
        return StepState(x, (a, real_columns(B), real_rows(C), log_a))

    def step(
        self, u: Tensor, state: StepState, dt: Tensor | None = None
    ) -> tuple[Tensor, StepState]:
        """One step (B, H); dt (B,): its length in training steps."""
        a, write, read, log_a = state.system
        Bu = from_interleaved(u @ write)
        if dt is not None:
            log_a_dt = log_a * dt[:, None]
            Bu = Bu * _held(log_a, log_a_dt).to(a.dtype)
            a = torch.exp(log_a_dt).to(a.dtype)
        x = torch.addcmul(Bu, a, state.x)
        y = interleaved(x) @ read
        return torch.addcmul(y, u, self.D), StepState(x, state.system)

    def _log_a(self) -> Tensor:
        # Clamped before the exponential, as every dt is: the gradient of an infinity is NaN.
        nu = self.nu.double().clamp(max=math.log(DT_RANGE[1]))
        return torch.complex(-nu.exp(), self.theta.double().exp())

    def _maps(self) -> tuple[Tensor, Tensor]:
        """B (d_state, H) with its gain, and C (H, d_state)."""
        B = torch.complex(self.B[0], self.B[1]) * self.gamma.exp()[:, None]
        return B, torch.complex(self.C[0], self.C[1])

    @full_precision
    def _scan(
        self, u: Tensor, x0: Tensor | None, rate: float, dt: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        u, log_a = u.to(self.D.dtype), self._log_a()
        B, C = self._maps()
        if dt is None:
            a = log_a * rate
            B = (_held(log_a, a)[:, None] * B).to(B.dtype)
            start = B.new_zeros(u.shape[0], len(a)) if x0 is None else x0
            return state_scan(u, torch.exp(a), B, C, self.D, start)
        a = log_a * (rate * dt[..., None])
        Bu = from_interleaved(u @ real_columns(B)) * _held(log_a, a).to(B.dtype)
        x = linear_scan(torch.exp(a).to(B.dtype), Bu, x0)
        y = interleaved(x) @ real_rows(C)
        return torch.addcmul(y, u, self.D), x[:, -1]


def _held(log_a: Tensor, log_a_dt: Tensor) -> Tensor:
    """What the input's gain becomes where a step of `log_a` is one of `log_a_dt`."""
    return torch.expm1(log_a_dt) / torch.expm1(log_a)
