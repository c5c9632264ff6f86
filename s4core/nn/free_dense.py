"""A dense real matrix with nothing known about it, shared by all features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from s4core.ops.chunk import ChunkTables
from s4core.ops.krylov import dense_discretize, dense_kernel, dense_tables
from s4core.ssm.modes import StepState


class FreeDenseSSM(nn.Module):
    """x' = A x + B u, y = C x by the bilinear rule.

    A (N, N), B (H, N), C (channels, H, N), dt (H, 1), kept as its logarithm. Made of given
    values; there is no initial distribution.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A", "B", "dt")

    def __init__(self, A: Tensor, B: Tensor, C: Tensor, log_dt: Tensor) -> None:
        super().__init__()
        self.channels, self.d_model = C.shape[0], C.shape[1]
        self.A, self.B, self.C = nn.Parameter(A), nn.Parameter(B), nn.Parameter(C)
        self.dt = nn.Parameter(log_dt)

    def kernel(self, length: int, rate: float = 1.0) -> Tensor:
        """The kernel (channels, H, length)."""
        return dense_kernel(*self._system(rate), length)

    def tables(self, block: int, rate: float = 1.0) -> ChunkTables:
        """The discretised system over a block of steps, for pieces with a carried state."""
        return dense_tables(*self._system(rate), block)

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """x = 0 (B, H, N), with the discretised system."""
        A, B, C, dt = self._system(rate)
        E, B_bar = dense_discretize(A, B, dt)
        A_bar = (E + torch.eye(E.shape[-1], dtype=E.dtype, device=E.device)).to(C.dtype)
        x = C.new_zeros(batch, *B.shape)
        return StepState(x, (A_bar, B_bar.to(C.dtype), C))

    def step(self, u: Tensor, state: StepState) -> tuple[Tensor, StepState]:
        """One step: u (B, H) to (B, channels * H)."""
        A_bar, B_bar, C = state.system
        x = torch.einsum("bhn,hmn->bhm", state.x, A_bar) + B_bar * u[..., None]
        return torch.einsum("bhn,chn->bch", x, C).flatten(1), StepState(x, state.system)

    def _system(self, rate: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        A = self.A.expand(self.d_model, *self.A.shape)
        return A, self.B, self.C, rate * self.dt.exp()
