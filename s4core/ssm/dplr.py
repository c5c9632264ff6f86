"""S4: systems A = diag - P P^*, whose trained readout is C~ = C (I - A_bar^l_max).

C~ is what the frequency-domain kernel needs, and training it (not C) is S4's published dynamics.
Whatever is not the kernel at l_max on the training grid - other lengths, other rates, stepping -
recovers the plain C by a solve, so it is exact, where the published code keeps C~ and is not.
Source: S4, arXiv:2111.00396, section 3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn

from ..config import config
from ..ops.cauchy import truncated_dplr_kernel
from ..ops.chunk import ChunkTables
from ..ops.dplr import (
    LowRank,
    dplr_discretize,
    dplr_kernel,
    dplr_tables,
    truncate,
    untruncate,
)
from ..ops.hippo import low_rank_of
from ..ops.interleaved import from_interleaved, interleaved
from ..shapes import Complex, Float, Tensor
from .inits import HIPPO
from .modes import AbstractModes, ModeOptions, StepState, joined, parameter

# -Re A from which float32 sums are within 2e-5 of float64.
DAMPED = 0.1


@config
class DplrOptions(ModeOptions):
    """An S4 system. rank: rows of P; rows that the init does not need start at zero."""

    rank: int = 1


def check_rank(options: DplrOptions) -> None:
    """Raise ValueError for a rank below 1, or below what the init needs."""
    least = low_rank_of(options.init) if options.init in HIPPO else 0
    if options.rank < max(1, least):
        what = f"init {options.init!r} needs rank >= {least}" if least > 1 else "need rank >= 1"
        raise ValueError(f"{what}, got {options.rank}.")


class DplrSSM(AbstractModes):
    """S4: x' = (diag(A) - sum_r P_r P_r^*) x + B u, y = 2 Re(C x), by the bilinear rule.

    l_max: the length, in steps of the training grid, at which C is stored as C~.
    Raises ValueError for options that do not fit together, or a rank below what the init needs.
    """

    def __init__(
        self, d_model: int, options: DplrOptions, *, l_max: int, channels: int = 1
    ) -> None:
        super().__init__(d_model, options, channels)
        if l_max < 1:
            raise ValueError(f"need l_max >= 1, got {l_max}.")
        self.options, self.l_max = options, l_max
        system, C = self.initial(rank=options.rank)
        self.P = parameter(torch.view_as_real(system.P))
        self.C: nn.Parameter
        self.store_readout(C)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, and look at how the modes are damped: training moves them."""
        self._look_at_damping()
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._look_at_damping()

    def _look_at_damping(self) -> None:
        """LegS begins with 1/2 everywhere, Fourier with 1e-4: see `truncated_dplr_kernel`."""
        with torch.no_grad():
            A = self.A().real
            self.is_damped = not A.is_meta and bool((A <= -DAMPED).all())

    def store_readout(self, C: Complex[Tensor, "C H n"]) -> None:
        """Make the plain readout C the trained C~, for the system as it is now."""
        with torch.no_grad():
            A, P, B = self.system()
            first, _ = dplr_discretize(A, P, B, self.steps(1.0))
            C_tilde = torch.view_as_real(truncate(C, first, self.l_max))
            if "C" in self._parameters:
                self.C.copy_(C_tilde)
            else:
                self.C = parameter(C_tilde)

    def system(
        self,
    ) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "R H n"], Complex[Tensor, "H n"]]:
        """(A, P, B) per feature."""
        B, P = torch.view_as_complex(self.B), torch.view_as_complex(self.P)
        return self.A(), self.per_feature(P), self.per_feature(B)

    def plain_readout(self) -> Complex[Tensor, "C H n"]:
        """C, recovered from C~ in float64 (and returned in it)."""
        A, P, B = self.system()
        first, _ = dplr_discretize(A, P, B, self.steps(1.0))
        return untruncate(self.readout(), first, self.l_max)

    @classmethod
    def joint_kernel(cls, systems: Sequence[Self], length: int, rate: float) -> Tensor:
        """The kernel of systems that are alike as that of one."""
        A, P, B, C_tilde, dt = joined(
            (*system.system(), system.readout(), system.steps(rate)) for system in systems
        )
        if length == systems[0].l_max and rate == 1.0:
            is_damped = all(system.is_damped for system in systems)
            return truncated_dplr_kernel(A, P, B, C_tilde, dt, length, is_damped=is_damped)
        (C,) = joined((system.plain_readout(),) for system in systems)
        return dplr_kernel(A, P, B, C.to(C_tilde.dtype), dt, length)

    def tables(self, block: int, rate: float = 1.0) -> ChunkTables:
        """The tables of `ops.chunk.chunk_scan` over blocks of `block` steps (a power of two)."""
        A, P, B = self.system()
        C = self.plain_readout().to(torch.view_as_complex(self.C).dtype)
        return dplr_tables(A, P, B, C, self.steps(rate), block)

    def discretize(
        self, rate: float = 1.0
    ) -> tuple[LowRank, Complex[Tensor, "H n"], Complex[Tensor, "C H n"]]:
        """(A_bar, B_bar, C) of x_l = A_bar x_(l-1) + B_bar u_l, y_l = 2 Re(C x_l), complex128."""
        A, P, B = self.system()
        first, B_bar = dplr_discretize(A, P, B, self.steps(rate))
        return first, B_bar, self.plain_readout()

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """The zero state for step mode; make a new one after parameters have changed."""
        first, B_bar, C = self.discretize(rate)
        dtype = torch.view_as_complex(self.C).dtype
        reads, row = (interleaved(2 * c.conj()) for c in (first.right, C))
        writes = (*interleaved(first.left).unbind(1), interleaved(B_bar))
        tables = (t.to(self.C.dtype).contiguous() for t in (reads, row, *writes))
        d = (1 + first.e).to(dtype)
        x = torch.zeros(batch, *d.shape, dtype=dtype, device=d.device)
        return StepState(x, (d, *tables))

    def step(
        self, u: Float[Tensor, "B H"], state: StepState
    ) -> tuple[Float[Tensor, "B D"], StepState]:
        """One step in time linear in the state, (B, H) to (B, C * H), channel-major."""
        d, reads, row, *writes, B_bar = state.system
        seen = torch.linalg.vecdot(reads, interleaved(state.x).unsqueeze(2))
        change = B_bar * u.unsqueeze(-1)
        for write, part in zip(writes, seen.split(1, -1), strict=True):
            change = torch.addcmul(change, part, write)
        x = torch.addcmul(from_interleaved(change), d, state.x)
        y = torch.linalg.vecdot(row, interleaved(x).unsqueeze(1))
        return y.flatten(1), StepState(x, state.system)
