"""Mega's multi-dimensional damped moving average, as a system for the SSM layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from s4core.ops.chunk import ChunkTables
from s4core.ops.vandermonde import vandermonde
from s4core.ssm.modes import StepState


class EmaSystem(nn.Module):
    """x_j <- q_j x_j + p_j beta_j u, y = sum_j gamma_j x_j / sqrt(N).

    p = s(delta), q = 1 - p s(alpha), s the sigmoid; a real diagonal system with N = d_state states
    a feature. Held over each step of another rate r: q^r, and p beta (1 - q^r) / (1 - q).
    Source: Mega, arXiv:2209.10655, eqs. 5 and 6; the start values are those of its code.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, d_model: int, *, d_state: int, channels: int = 1) -> None:
        super().__init__()
        self.d_model, self.channels = d_model, channels
        shape = (d_model, d_state)
        self.delta = nn.Parameter(0.2 * torch.randn(shape))
        self.alpha = nn.Parameter(0.2 * torch.randn(shape))
        signs = torch.ones(d_state)
        signs[1::2] = -1.0
        self.beta = nn.Parameter(signs + 0.02 * torch.randn(shape))
        self.gamma = nn.Parameter(torch.randn(channels, *shape))

    def discretize(self, rate: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """(log q, gain of u, readout) of a grid `rate` times as coarse, in float64."""
        p = torch.sigmoid(self.delta.double())
        log_q = torch.log1p(-p * torch.sigmoid(self.alpha.double()))
        held = torch.expm1(rate * log_q) / torch.expm1(log_q)
        readout = self.gamma.double() / self.gamma.shape[-1] ** 0.5
        return rate * log_q, p * self.beta.double() * held, readout

    def kernel(self, length: int, rate: float = 1.0) -> Tensor:
        """The kernel (channels, H, length)."""
        log_q, gain, readout = self.discretize(rate)
        # vandermonde takes twice the real part, as for conjugate pairs.
        weight = torch.complex(0.5 * gain * readout, torch.zeros_like(readout))
        log_z = torch.complex(log_q, torch.zeros_like(log_q))
        return vandermonde(log_z, weight, length, self.gamma.dtype)

    def tables(self, block: int, rate: float = 1.0) -> ChunkTables:
        """The discretised system over a block of steps, for pieces with a carried state."""
        log_q, gain, readout = self.discretize(rate)
        steps = torch.arange(block, device=log_q.device)[:, None]
        powers = torch.exp(steps * log_q[:, None])  # (H, b, N)
        read = (readout[:, :, None] * torch.exp((steps + 1) * log_q[:, None])).transpose(-1, -2)
        dtype = self.gamma.dtype
        return ChunkTables(
            kernel=self.kernel(block, rate),
            write=(powers.flip(1) * gain[:, None]).to(dtype),
            read=read.to(dtype),
            carry=lambda r: torch.exp(r * log_q).to(dtype),
        )

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """x = 0 (B, H, N), with the discretised system."""
        log_q, gain, readout = (v.to(self.gamma.dtype) for v in self.discretize(rate))
        x = self.gamma.new_zeros(batch, *log_q.shape)
        return StepState(x, (log_q.exp(), gain, readout))

    def step(self, u: Tensor, state: StepState) -> tuple[Tensor, StepState]:
        """One step: u (B, H) to (B, channels * H)."""
        q, gain, readout = state.system
        x = torch.addcmul(gain * u[..., None], q, state.x)
        y = torch.einsum("bhn,chn->bch", x, readout)
        return y.flatten(1), StepState(x, state.system)
