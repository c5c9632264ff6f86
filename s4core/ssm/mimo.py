"""S5: one multi-input multi-output diagonal system, its own layer: scan, pieces, step.

It has the interface of `nn.ssm_layer.SSMLayer` (which wraps single-input systems), and takes
irregular steps.  Initial values have the published distributions.
Source: S5, arXiv:2208.04933, section 3 and appendix B.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import nn

from ..config import config
from ..ops.discretize import Discretization, discretize
from ..ops.hippo import nplr
from ..ops.interleaved import from_interleaved, interleaved, real_columns, real_rows
from ..ops.mimo import mimo_scan_with_state
from ..shapes import Complex, Float, Tensor
from .modes import StepState, parameter
from .transforms import DT_RANGE, initial_dt, need_dt_range

# Standard deviation of a standard normal cut at 2.
TRUNCATED = 0.87962566103423978
CLIP = -1e-4


@config
class MimoOptions:
    """An S5 system.

    d_state: states, before conj_sym keeps one of each pair; blocks: HiPPO blocks they start as.
    C_init: trunc_standard_normal and lecun_normal draw C in the basis of the blocks (with standard
    deviations d_state^-1/2 and (d_state d_model)^-1/2), complex_normal in that of the states.
    clip_eigs: keep Re A <= -1e-4 in the forward.  dt_min, dt_max: the range of initial steps.
    """

    d_state: int = 256
    blocks: int = 8
    C_init: Literal["trunc_standard_normal", "lecun_normal", "complex_normal"] = (
        "trunc_standard_normal"
    )
    discretize: Discretization = "zoh"
    conj_sym: bool = True
    clip_eigs: bool = False
    bidirectional: bool = False
    dt_min: float = 0.001
    dt_max: float = 0.1

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.d_state % self.blocks or self.d_state // self.blocks % 2:
            raise ValueError(
                "need d_state in blocks of an even size, got "
                f"d_state={self.d_state}, blocks={self.blocks}."
            )
        need_dt_range(self.dt_min, self.dt_max)


class MimoSSM(nn.Module):
    """S5: x' = A x + B u, y = (2) Re(C x) + D u over all features at once.

    Maps (B, L, H) to (B, L, H); `d_output` is d_model.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_real", "A_imag", "B", "dt")
    takes_dt: ClassVar[bool] = True

    def __init__(self, d_model: int, options: MimoOptions) -> None:
        super().__init__()
        self.d_model = self.d_output = d_model
        self.channels = 1
        self.options, self.bidirectional = options, options.bidirectional
        size = options.d_state // options.blocks
        Lambda, _, _, V = nplr("legs", size)
        if not options.conj_sym:
            Lambda = torch.cat([Lambda, Lambda.conj().flip(-1)])
            V = torch.cat([V, V.conj().flip(-1)], -1)
        A = Lambda.repeat(options.blocks)
        self.A_real, self.A_imag = parameter(A.real), parameter(A.imag)
        raw = _truncated((options.blocks, size, d_model), options.d_state**-0.5)
        B = torch.einsum("rn,jrh->jnh", V.conj(), raw.to(V.dtype)).flatten(0, 1)
        self.B = parameter(torch.view_as_real(B.resolve_conj()))
        directions = 2 if options.bidirectional else 1
        C = torch.cat([self._initial_readout(V) for _ in range(directions)], -1)
        self.C = parameter(torch.view_as_real(C))
        self.D = nn.Parameter(torch.randn(d_model))
        self.dt = parameter(initial_dt((len(A),), options.dt_min, options.dt_max).log())

    def _initial_readout(self, V: Complex[Tensor, "R n"]) -> Complex[Tensor, "H P"]:
        options, H = self.options, self.d_model
        if options.C_init == "complex_normal":
            return torch.randn(H, options.blocks * V.shape[1], dtype=V.dtype)
        fan = options.d_state * (H if options.C_init == "lecun_normal" else 1)
        shape = (H, options.blocks, len(V), 2)
        raw = torch.view_as_complex(_truncated(shape, fan**-0.5))
        return torch.einsum("hjr,rn->hjn", raw, V).flatten(1)

    def A(self) -> Complex[Tensor, " P"]:
        """The eigenvalues."""
        real = self.A_real.clamp(max=CLIP) if self.options.clip_eigs else self.A_real
        return torch.complex(real, self.A_imag)

    def steps(self, rate: float = 1.0) -> Float[Tensor, " P"]:
        """The step of each state on a grid `rate` times as coarse as the training grid."""
        low, high = (math.log(bound) for bound in DT_RANGE)
        return self.dt.clamp(low, high).exp() * rate

    def forward(
        self,
        u: Float[Tensor, "B L H"],
        rate: float = 1.0,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L H"]:
        """Scan whole sequences; dt: time since the step before, in training steps (1 is regular).

        With dt, memory is linear in L and in the states.
        """
        return self._scan(u, None, rate, dt)[0]

    def _scan(
        self, u: Tensor, x0: Tensor | None, rate: float, dt: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        options, steps = self.options, self.steps(rate)
        return mimo_scan_with_state(
            u,
            self.A(),
            torch.view_as_complex(self.B),
            torch.view_as_complex(self.C),
            self.D,
            steps if dt is None else dt.unsqueeze(-1) * steps,
            discretization=options.discretize,
            conj_sym=options.conj_sym,
            bidirectional=options.bidirectional,
            x0=x0,
        )

    def forward_with_state(
        self,
        u: Float[Tensor, "B L H"],
        state: StepState,
        rate: float = 1.0,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> tuple[Float[Tensor, "B L H"], StepState]:
        """Continue a sequence from a state of `initial_state` or `step`; return the next state."""
        self._refuse_bidirectional()
        y, x = self._scan(u, state.x, rate, dt)
        return y, state._replace(x=x)

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """The zero state for step mode; make a new one after parameters have changed.

        Raises ValueError if bidirectional: that needs the whole sequence.
        """
        self._refuse_bidirectional()
        A = self.A()
        log_A_bar, gain = discretize(
            A.to(torch.complex128), self.steps(rate).double(), self.options.discretize
        )
        B_bar = gain.unsqueeze(-1) * torch.view_as_complex(self.B)
        C = torch.view_as_complex(self.C) * (2 if self.options.conj_sym else 1)
        write, read = real_columns(B_bar).to(self.D.dtype), real_rows(C)
        x = torch.zeros(batch, len(A), dtype=A.dtype, device=A.device)
        # The last three are there for steps of a length of their own.
        raw = torch.view_as_complex(self.B)
        system = (log_A_bar.exp().to(A.dtype), write, read, A, self.steps(rate), raw)
        return StepState(x, system)

    def step(
        self, u: Float[Tensor, "B H"], state: StepState, dt: Float[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B H"], StepState]:
        """One step, (B, H) to (B, H); dt: its length in training steps, None is regular."""
        A_bar, write, read, A, steps, B = state.system
        if dt is None:
            Bu = from_interleaved(u.to(write.dtype) @ write)
        else:
            log_A_bar, gain = discretize(A, dt.unsqueeze(-1) * steps, self.options.discretize)
            A_bar, Bu = log_A_bar.exp(), gain * (u.to(B.dtype) @ B.T)
        x = torch.addcmul(Bu, A_bar, state.x)
        y = interleaved(x) @ read
        return torch.addcmul(y, u, self.D), StepState(x, state.system)

    def _refuse_bidirectional(self) -> None:
        if self.bidirectional:
            raise ValueError("a bidirectional layer has no step mode: it needs the future.")


def _truncated(shape: tuple[int, ...], std: float) -> Float[Tensor, " ..."]:
    """Normal numbers of this standard deviation, cut at twice the underlying one."""
    sigma = std / TRUNCATED
    value = torch.empty(shape, dtype=torch.float64)
    return nn.init.trunc_normal_(value, std=sigma, a=-2 * sigma, b=2 * sigma)
