"""What S4 and S4D share: conjugate pairs of modes (A, B) in n_ssm copies, and a step per feature.

Parameters are real tensors (complex ones break DDP and half precision).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import nn

from ..config import config
from ..ops.interleaved import from_interleaved, interleaved
from ..shapes import Complex, Float, Tensor
from .inits import MIXTURES, InitOptions, System, initial_system
from .transforms import (
    FLOOR,
    Transform,
    initial_dt,
    need_dt_range,
    positive,
    step_size,
    unconstrained,
)

Init = Literal[
    "legs", "legt", "lagt", "fout", "fourier", "fourier2", "fourier_decay", "foud", "legsd",
    "lin", "inv", "inv2", "quad", "rand", "real", "random", "hippo", "diag", "all",
    "diag-legs", "diag-lin", "diag-inv", "diag-inv2", "diag-quad", "diag-rand", "diag-real",
    "dplr-legs", "dplr-lin", "dplr-inv", "dplr-inv2", "dplr-quad", "dplr-rand", "dplr-real",
]  # fmt: skip

# Rows of P that an init may need (legt two, others one), for systems that have no use for P.
MOST_ROWS = 2


@config
class ModeOptions(InitOptions):
    """Fields of S4 and S4D alike.

    d_state: states N, even, in N / 2 conjugate pairs.
    init: a HiPPO family, a spectrum (lin, inv, ...), dplr-X (X with a random low-rank term), or a
    mixture over the copies: hippo (legs, fourier), diag (inv, lin), all (those four).
    dt_min, dt_max: the range of the initial steps; dt_tie: one step a feature, else one a mode;
    dt_fast: a sinh before dt_transform, so that steps far from 1 learn faster.
    n_ssm: independent copies of (A, B), None for one a feature; must divide d_model.
    deterministic: dt and C without chance.
    bandlimit: drop modes above this share of the training grid's Nyquist frequency, None for none.
    dt_transform, real_transform, imag_transform: how dt, -Re A and -Im A are kept positive.
    """

    d_state: int = 64
    init: Init = "legs"
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_tie: bool = True
    dt_fast: bool = False
    dt_transform: Transform = "exp"
    real_transform: Transform = "exp"
    imag_transform: Transform = "none"
    n_ssm: int | None = None
    deterministic: bool = False
    bandlimit: float | None = None

    def __post_init__(self) -> None:
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"need an even d_state >= 2, got {self.d_state}.")
        if self.bandlimit is not None and not self.bandlimit > 0:
            raise ValueError(f"need bandlimit > 0 (or null), got {self.bandlimit}.")
        need_dt_range(self.dt_min, self.dt_max)

    def copies(self, d_model: int) -> int:
        """The copies of (A, B) for a system of d_model features.

        Raises ValueError if they do not divide the features, or cannot be shared out by the init.
        """
        copies = d_model if self.n_ssm is None else self.n_ssm
        if copies < 1 or d_model % copies:
            raise ValueError(
                f"n_ssm must divide the features of a layer, got {self.n_ssm} and {d_model}."
            )
        members = len(MIXTURES.get(self.init, (self.init,)))
        if copies % members:
            raise ValueError(
                f"init {self.init!r} mixes {members} systems, so n_ssm (null: a layer's features) "
                f"must be a multiple of that, got {copies}."
            )
        return copies


class StepState(NamedTuple):
    """The state of one layer in step mode, with the system discretised when the state was made.

    x: (B, H, n).  Parameters that change later do not change a sequence that has begun.
    """

    x: Tensor
    system: tuple[Tensor, ...]


class AbstractModes(nn.Module, ABC):
    """Parameters A_real, A_imag, B (n_ssm copies) and dt, C (per feature) of a modal system."""

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_real", "A_imag", "B", "P", "dt")

    A_real: nn.Parameter
    A_imag: nn.Parameter | None
    B: nn.Parameter
    C: nn.Parameter
    dt: nn.Parameter

    def __init__(self, d_model: int, options: ModeOptions, channels: int) -> None:
        super().__init__()
        self.d_model, self.channels, self.copies = d_model, channels, options.copies(d_model)
        self.modes = options

    def initial(
        self, *, rank: int = MOST_ROWS, is_real: bool = False, has_input: bool = True
    ) -> tuple[System, Complex[Tensor, "C H n"]]:
        """Make A_real, A_imag, B and dt; return the system they came from and an initial C.

        rank: rows of P.  is_real: d_state real modes, without A_imag and with a real B.
        has_input: whether B is a parameter.
        """
        options = self.modes
        d_state = options.d_state * (1 + is_real)
        system = initial_system(options.init, d_state, self.copies, rank=rank, options=options)
        n = system.Lambda.shape[-1]
        size = -system.Lambda.real
        # A mode that does not decay (Fourier has one with A = 0) divides by zero in some kernels;
        # transforms other than none begin at the same floor.
        size = torch.where(size.abs() < FLOOR, FLOOR, size)
        re = unconstrained(size, options.real_transform)
        im = unconstrained(-system.Lambda.imag, options.imag_transform)
        self.A_real, self.A_imag = parameter(re), None if is_real else parameter(im)
        if has_input:
            B = system.B.resolve_conj()
            self.B = parameter(B.real if is_real else torch.view_as_real(B))
        dt = initial_dt(
            (self.d_model, 1 if options.dt_tie else n),
            options.dt_min,
            options.dt_max,
            deterministic=options.deterministic,
        )
        self.dt = parameter(self.raw_steps(dt))
        C = torch.randn(self.channels, self.d_model, n, dtype=torch.complex128)
        if options.deterministic:
            first = system.V[:, 0].conj().resolve_conj()
            C = first.repeat(self.d_model // self.copies, 1).repeat(self.channels, 1, 1)
        return system, C

    @classmethod
    @abstractmethod
    def joint_kernel(
        cls, systems: Sequence[Self], length: int, rate: float
    ) -> Float[Tensor, "C J L"]:
        """The kernel of systems that are alike as that of one, which has all their J features."""

    @classmethod
    def kernels(cls, systems: Sequence[Self], length: int, rate: float = 1.0) -> Sequence[Tensor]:
        """The kernels (C, H, L) of systems that are alike, made together.

        What a kernel is made by is some hundred operations, whose start takes longer than their
        work in a small system: those of several layers are done as one of all their features.
        """
        K = cls.joint_kernel(systems, length, rate)
        return torch.split(K, [system.d_model for system in systems], 1)

    def kernel(self, length: int, rate: float = 1.0) -> Float[Tensor, "C H L"]:
        """The convolution kernel of `length` steps on a grid `rate` times as coarse as training."""
        return self.kernels([self], length, rate)[0]

    def is_like(self, other: object) -> bool:
        """Whether `kernels` can take both: they were made with the same options object."""
        if type(other) is not type(self) or other.modes is not self.modes:
            return False
        mine, theirs = ((s.channels, getattr(s, "l_max", None)) for s in (self, other))
        return mine == theirs

    def A(self) -> Complex[Tensor, "H n"]:
        """The eigenvalues -f(A_real) - i g(A_imag) of each feature's system, in complex128."""
        re = -positive(self.A_real.double(), self.modes.real_transform)
        if self.A_imag is None:
            return self.per_feature(torch.complex(re, torch.zeros_like(re)))
        im = -positive(self.A_imag.double(), self.modes.imag_transform)
        return self.per_feature(torch.complex(re, im))

    def readout(self) -> Complex[Tensor, "C H n"]:
        """The parameter C, 0 for the modes above the band limit.

        Source: S4ND, arXiv:2210.06583, section 3.3; of S4 it is C~ that is cut, as published.
        """
        C = torch.view_as_complex(self.C)
        if self.modes.bandlimit is None:
            return C
        cycles = self.steps(1.0) * self.A().imag.abs() / (2 * math.pi)
        return C * (cycles < self.modes.bandlimit / 2)

    def steps(self, rate: float) -> Float[Tensor, "H m"]:
        """dt of a grid `rate` times as coarse as the training grid, in float64.

        A step that is wrong by 6e-8 turns a fast mode by 1e-3 within 16,000 of them.
        """
        raw: Tensor = self.dt.double()
        if self.modes.dt_fast:
            # Wider than any dt in its bounds needs; the gradient of an infinity is NaN.
            raw = torch.sinh(raw.clamp(-10.0, 10.0))
        return step_size(raw, self.modes.dt_transform) * rate

    def raw_steps(self, dt: Float[Tensor, "H m"]) -> Float[Tensor, "H m"]:
        """The parameter that stands for steps `dt` of the training grid."""
        raw = unconstrained(dt, self.modes.dt_transform)
        return torch.asinh(raw) if self.modes.dt_fast else raw

    def per_feature(self, copies: Complex[Tensor, "*r S n"]) -> Complex[Tensor, "*r H n"]:
        """Feature h uses copy h mod n_ssm."""
        if self.copies == self.d_model:
            return copies
        ones = [1] * (copies.ndim - 2)
        return copies.repeat(*ones, self.d_model // self.copies, 1)


def joined(systems: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """The tensors (.., H, n) of several systems as those of one, which has all their features."""
    return [t[0] if len(t) == 1 else torch.cat(t, -2) for t in zip(*systems, strict=True)]


def modal_state(
    batch: int,
    A_bar: Complex[Tensor, "H n"],
    B_bar: Complex[Tensor, "H n"],
    C: Complex[Tensor, "C H n"],
    dtype: torch.dtype,
) -> StepState:
    """The zero state of a diagonal recurrence, with its system in the precision of real `dtype`."""
    complex_dtype = torch.promote_types(dtype, torch.complex64)
    x = torch.zeros(batch, *A_bar.shape, dtype=complex_dtype, device=A_bar.device)
    tables = (interleaved(t).to(dtype).contiguous() for t in (B_bar, 2 * C.conj()))
    return StepState(x, (A_bar.to(complex_dtype), *tables))


def modal_step(u: Float[Tensor, "B H"], state: StepState) -> tuple[Float[Tensor, "B D"], StepState]:
    """x = A_bar x + B_bar u, y = 2 Re(C x), for a state of `modal_state`."""
    A_bar, B_bar, row = state.system
    x = torch.addcmul(from_interleaved(B_bar * u.unsqueeze(-1)), A_bar, state.x)
    y = torch.linalg.vecdot(row, interleaved(x).unsqueeze(1))
    return y.flatten(1), StepState(x, state.system)


def parameter(value: Tensor) -> nn.Parameter:
    """A trainable copy in torch's default dtype, contiguous as `parameters_to_vector` wants it."""
    copy = value.to(torch.get_default_dtype(), copy=True, memory_format=torch.contiguous_format)
    return nn.Parameter(copy)
