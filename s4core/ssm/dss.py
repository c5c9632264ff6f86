"""DSS: diagonal systems with B = 1 and a readout W, in the softmax and in the exp form.

The softmax form normalises each mode over l_max steps, so Re A may have any sign (and is trained
without a transform); the exp form is S4D with zero-order hold, B = 1 and no factor 2.
Source: DSS, arXiv:2203.14343, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch

from ..config import config
from ..ops.chunk import ChunkTables, tables_of
from ..ops.discretize import discretize
from ..ops.dss import dss_kernel, dss_recurrence
from ..ops.vandermonde import diagonal_kernel
from ..shapes import Complex, Float, Tensor
from .modes import AbstractModes, ModeOptions, StepState, joined, modal_state, modal_step, parameter
from .transforms import Transform


@config
class DssOptions(ModeOptions):
    """A DSS system. form: softmax or exp; exp wants a real_transform that keeps Re A negative."""

    form: Literal["softmax", "exp"] = "softmax"
    real_transform: Transform = "none"


class DssSSM(AbstractModes):
    """DSS: x' = A x + u, y = Re(W x), normalised over l_max steps in the softmax form.

    l_max: steps of the training grid that the softmax is taken over.
    Raises ValueError for options that do not fit together.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_real", "A_imag", "dt")

    def __init__(self, d_model: int, options: DssOptions, *, l_max: int, channels: int = 1) -> None:
        super().__init__(d_model, options, channels)
        if l_max < 1:
            raise ValueError(f"need l_max >= 1, got {l_max}.")
        self.options, self.l_max = options, l_max
        _, C = self.initial(has_input=False)
        self.C = parameter(torch.view_as_real(C))

    def _horizon(self, rate: float) -> int:
        return max(1, round(self.l_max / rate))

    @classmethod
    def joint_kernel(cls, systems: Sequence[Self], length: int, rate: float) -> Tensor:
        """The kernel of systems that are alike as that of one."""
        A, W, dt = joined((s.A(), s.readout(), s.steps(rate)) for s in systems)
        first = systems[0]
        if first.options.form == "softmax":
            return dss_kernel(A, W, dt, length, horizon=first._horizon(rate))
        return diagonal_kernel(A, torch.ones_like(A), W / 2, dt, length)

    def discretize(
        self, rate: float = 1.0
    ) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "H n"], Complex[Tensor, "C H n"]]:
        """(A_bar, B_bar, C) of x_l = A_bar x_(l-1) + B_bar u_l, y_l = 2 Re(C x_l), complex128."""
        A, dt = self.A(), self.steps(rate)
        C = self.readout().to(torch.complex128) / 2
        if self.options.form == "softmax":
            return *dss_recurrence(A, dt, self._horizon(rate)), C
        log_A_bar, gain = discretize(A.to(C.dtype), dt.double())
        return log_A_bar.exp(), gain, C

    def tables(self, block: int, rate: float = 1.0) -> ChunkTables:
        """The tables of `ops.chunk.chunk_scan` over blocks of `block` steps (a power of two)."""
        A_bar, B_bar, C = self.discretize(rate)
        return tables_of(A_bar.log(), B_bar, C, block, self.C.dtype)

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """The zero state for step mode; make a new one after parameters have changed."""
        return modal_state(batch, *self.discretize(rate), self.C.dtype)

    def step(
        self, u: Float[Tensor, "B H"], state: StepState
    ) -> tuple[Float[Tensor, "B D"], StepState]:
        """One step of the recurrence, (B, H) to (B, C * H), channel-major."""
        return modal_step(u, state)
