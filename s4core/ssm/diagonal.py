"""S4D and DSS: systems whose A is diagonal, one of each conjugate pair of modes kept.

Sources: S4D, arXiv:2206.11893; the published options of the S4 repository, version 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch

from ..config import config
from ..ops.chunk import ChunkTables, diagonal_tables
from ..ops.discretize import Discretization, discretize, per_mode
from ..ops.vandermonde import diagonal_kernel
from ..shapes import Complex, Float, Tensor
from .modes import AbstractModes, ModeOptions, StepState, joined, modal_state, modal_step, parameter


@config
class DiagonalOptions(ModeOptions):
    """An S4D system.

    is_real: d_state real modes (an exponential moving average of as many decays), no conjugates.
    """

    discretize: Discretization = "zoh"
    is_real: bool = False


class DiagonalSSM(AbstractModes):
    """S4D: x' = A x + B u, y = 2 Re(C x) with A diagonal.

    Raises ValueError for options that do not fit together.  Source: arXiv:2206.11893, section 3.
    """

    def __init__(self, d_model: int, options: DiagonalOptions, *, channels: int = 1) -> None:
        super().__init__(d_model, options, channels)
        self.options = options
        _, C = self.initial(is_real=options.is_real)
        # Re and Im of C have variance 1/2; a real C has variance 1.
        self.C = parameter(C.real * math.sqrt(2) if options.is_real else torch.view_as_real(C))

    def system(
        self, rate: float = 1.0
    ) -> tuple[
        Complex[Tensor, "H n"],
        Complex[Tensor, "H n"],
        Complex[Tensor, "C H n"],
        Float[Tensor, "H m"],
    ]:
        """(A, B, C, dt) per feature; dt is that of the training grid times `rate`."""
        A = self.A()
        if self.options.is_real:
            # Half the real part twice: 2 Re sum over modes is then the plain sum.
            B, C = (torch.complex(t, torch.zeros_like(t)) for t in (self.B, 0.5 * self.C))
        else:
            B, C = torch.view_as_complex(self.B), self.readout()
        return A, self.per_feature(B), C, self.steps(rate)

    @classmethod
    def joint_kernel(cls, systems: Sequence[Self], length: int, rate: float) -> Tensor:
        """The kernel of systems that are alike as that of one."""
        A, B, C, dt = joined(system.system(rate) for system in systems)
        discretization = systems[0].options.discretize
        return diagonal_kernel(A, B, C, dt, length, discretization=discretization)

    def tables(self, block: int, rate: float = 1.0) -> ChunkTables:
        """The tables of `ops.chunk.chunk_scan` over blocks of `block` steps (a power of two)."""
        A, B, C, dt = self.system(rate)
        return diagonal_tables(A, B, C, dt, block, discretization=self.options.discretize)

    def discretize(
        self, rate: float = 1.0
    ) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "H n"], Complex[Tensor, "C H n"]]:
        """(A_bar, B_bar, C) of x_l = A_bar x_(l-1) + B_bar u_l, y_l = 2 Re(C x_l), complex128."""
        A, B, C, dt = self.system(rate)
        log_A_bar, gain = discretize(
            A.to(torch.complex128), per_mode(dt).double(), self.options.discretize
        )
        return log_A_bar.exp(), gain * B, C

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """The zero state for step mode; make a new one after parameters have changed."""
        return modal_state(batch, *self.discretize(rate), self.C.dtype)

    def step(
        self, u: Float[Tensor, "B H"], state: StepState
    ) -> tuple[Float[Tensor, "B D"], StepState]:
        """One step of the recurrence, (B, H) to (B, C * H), channel-major."""
        return modal_step(u, state)
