"""S4D and DSS: systems whose A is diagonal, one of each conjugate pair of modes kept.

Parameters are real tensors (complex ones break DDP and half precision).  A and B may be shared by
all features (n_ssm copies, feature h uses copy h mod n_ssm); C and dt are always per feature.
Sources: S4D, arXiv:2206.11893; the published options of the S4 repository, version 4.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import nn

from ..config import config
from ..ops.discretize import Discretization, discretize
from ..ops.vandermonde import diagonal_kernel, per_mode
from ..shapes import Complex, Float, Tensor
from .inits import InitOptions, initial_system
from .transforms import Transform, initial_dt, positive, step_size, unconstrained

DiagonalInit = Literal[
    "legs", "lin", "inv", "inv2", "quad", "rand", "real",
    "legt", "lagt", "fout", "fourier", "fourier2", "fourier_decay", "foud", "legsd", "random",
    "hippo", "diag", "all",
]  # fmt: skip


@config
class DiagonalOptions(InitOptions):
    """An S4D system.

    d_state: states N, even, in N / 2 conjugate pairs (N real ones if is_real).
    dt_min, dt_max: the range of the initial steps; dt_tie: one step a feature, else one a mode.
    n_ssm: independent copies of (A, B), None for one a feature; must divide d_model.
    bandlimit: drop modes above this share of the Nyquist frequency / 2 (1.0 keeps what the training
    grid can hold), None for all.  deterministic: dt and C without chance.
    is_real: real modes (an exponential moving average of N decays) without conjugates.
    """

    d_state: int = 64
    init: DiagonalInit = "legs"
    discretize: Discretization = "zoh"
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_tie: bool = True
    dt_transform: Transform = "exp"
    real_transform: Transform = "exp"
    imag_transform: Transform = "none"
    n_ssm: int | None = None
    bandlimit: float | None = None
    deterministic: bool = False
    is_real: bool = False

    def __post_init__(self) -> None:
        check_options(self.d_state, self.dt_min, self.dt_max)


def check_options(d_state: int, dt_min: float, dt_max: float) -> None:
    """Refuse what no system can have: an odd or empty state, an empty range of steps."""
    if d_state < 2 or d_state % 2:
        raise ValueError(f"need an even d_state >= 2, got {d_state}.")
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"need 0 < dt_min <= dt_max, got {dt_min=}, {dt_max=}.")


def copies_of(d_model: int, n_ssm: int | None) -> int:
    """The number of copies of (A, B); raises ValueError unless it divides d_model."""
    copies = d_model if n_ssm is None else n_ssm
    if copies < 1 or d_model % copies:
        raise ValueError(f"n_ssm must divide d_model, got {n_ssm=}, {d_model=}.")
    return copies


class StepState(NamedTuple):
    """The state of one layer in step mode, with the system discretised when the state was made.

    x: (B, H, n).  Parameters that change later do not change a sequence that has begun.
    """

    x: Tensor
    system: tuple[Tensor, ...]


class DiagonalSSM(nn.Module):
    """S4D: x' = A x + B u, y = 2 Re(C x), A = -f(A_real) - i g(A_imag) diagonal.

    Raises ValueError for options that do not fit together.  Source: arXiv:2206.11893, section 3.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_real", "A_imag", "B", "dt")

    def __init__(self, d_model: int, options: DiagonalOptions, *, channels: int = 1) -> None:
        super().__init__()
        self.d_model, self.channels, self.options = d_model, channels, options
        self.copies = copies_of(d_model, options.n_ssm)
        n_full = 2 * options.d_state if options.is_real else options.d_state
        system = initial_system(options.init, n_full, self.copies, options=options)
        dtype = torch.get_default_dtype()
        n = system.Lambda.shape[-1]
        re = unconstrained(-system.Lambda.real, options.real_transform)
        self.A_real = nn.Parameter(re.to(dtype))
        dt = initial_dt(
            (d_model, 1 if options.dt_tie else n),
            options.dt_min,
            options.dt_max,
            deterministic=options.deterministic,
        )
        self.dt = nn.Parameter(unconstrained(dt, options.dt_transform))
        C = torch.randn(channels, d_model, n, dtype=torch.complex128)
        if options.deterministic:
            C = system.V[:, 0].conj().repeat(d_model // self.copies, 1).repeat(channels, 1, 1)
        if options.is_real:
            self.B = nn.Parameter(system.B.real.to(dtype))
            self.C = nn.Parameter((C.real * math.sqrt(2)).to(dtype))
            return
        im = unconstrained(-system.Lambda.imag, options.imag_transform)
        self.A_imag = nn.Parameter(im.to(dtype))
        self.B = nn.Parameter(torch.view_as_real(system.B.resolve_conj()).to(dtype))
        self.C = nn.Parameter(torch.view_as_real(C.resolve_conj()).to(dtype))

    @property
    def is_real(self) -> bool:
        """Whether modes are real, without conjugates."""
        return self.options.is_real

    def system(
        self, rate: float = 1.0
    ) -> tuple[
        Complex[Tensor, "H n"],
        Complex[Tensor, "H n"],
        Complex[Tensor, "C H n"],
        Float[Tensor, "H m"],
    ]:
        """(A, B, C, dt) per feature; dt is that of the training grid times `rate`."""
        options = self.options
        re = -positive(self.A_real, options.real_transform)
        dt = step_size(self.dt, options.dt_transform)
        if self.is_real:
            # Half the real part twice: 2 Re sum over modes is then the plain sum.
            A, B, C = (torch.complex(t, torch.zeros_like(t)) for t in (re, self.B, 0.5 * self.C))
        else:
            A = torch.complex(re, -positive(self.A_imag, options.imag_transform))
            B, C = torch.view_as_complex(self.B), torch.view_as_complex(self.C)
        if self.copies != self.d_model:
            A, B = (t.repeat(self.d_model // self.copies, 1) for t in (A, B))
        if options.bandlimit is not None:
            cycles = dt * A.imag.abs() / (2 * math.pi)
            C = C * (cycles < options.bandlimit / 2)
        return A, B, C, dt * rate

    def kernel(self, length: int, rate: float = 1.0) -> Float[Tensor, "C H L"]:
        """The convolution kernel of `length` steps on a grid `rate` times as coarse as training."""
        A, B, C, dt = self.system(rate)
        return diagonal_kernel(A, B, C, dt, length, discretization=self.options.discretize)

    def discretize(
        self, rate: float = 1.0
    ) -> tuple[Complex[Tensor, "H n"], Complex[Tensor, "H n"], Complex[Tensor, "C H n"]]:
        """(A_bar, B_bar, C) of x_l = A_bar x_(l-1) + B_bar u_l, y_l = 2 Re(C x_l)."""
        A, B, C, dt = self.system(rate)
        log_A_bar, gain = discretize(
            A.to(torch.complex128), per_mode(dt).double(), self.options.discretize
        )
        return log_A_bar.exp().to(A.dtype), (gain * B).to(A.dtype), C

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """The zero state for step mode; make a new one after parameters have changed."""
        A_bar, B_bar, C = self.discretize(rate)
        readout = 2 * torch.view_as_real(C.conj().resolve_conj()).flatten(-2)
        x = torch.zeros(batch, *A_bar.shape, dtype=A_bar.dtype, device=A_bar.device)
        return StepState(x, (A_bar, B_bar, readout))

    def step(
        self, u: Float[Tensor, "B H"], state: StepState
    ) -> tuple[Float[Tensor, "B D"], StepState]:
        """One step of the recurrence, (B, H) to (B, C * H), channel-major."""
        A_bar, B_bar, readout = state.system
        x = torch.addcmul(B_bar * u.unsqueeze(-1), A_bar, state.x)
        y = (torch.view_as_real(x).flatten(-2).unsqueeze(1) * readout).sum(-1)
        return y.flatten(1), StepState(x, state.system)
