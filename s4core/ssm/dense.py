"""LSSL: dense systems whose A is a rescaled inverse of a tridiagonal matrix, shared or learned.

A = -p_l (T^-1 + diag c) p_r and B = p_l b, with T tridiagonal: a family that contains LegS, LegT
and LagT exactly.  What is not learned is not recomputed: the Krylov matrix of a fixed system is
made once for each length and rate.
Source: LSSL, arXiv:2110.13985, section 4.1 and appendix E.
"""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import torch
from torch import nn

from ..config import config
from ..ops.chunk import ChunkTables
from ..ops.krylov import dense_discretize, dense_kernel, dense_tables, krylov_matrix
from ..shapes import Float, Tensor
from .modes import StepState, parameter
from .transforms import Transform, initial_dt, need_dt_range, step_size, unconstrained

Transition = Literal["legs", "legt", "lagt", "jac", "chebi", "chebii"]


@config
class DenseOptions:
    """An LSSL system.

    transition: the matrix family that A starts as.  learn: fixed (A and dt), shared (one A for all
    features, dt learned) or per_feature.  noise: standard deviation of the normal numbers added to
    the diagonal of LegT's T.  dt_min, dt_max: the range of the initial steps, one a feature.
    """

    d_state: int = 64
    transition: Transition = "legs"
    learn: Literal["fixed", "shared", "per_feature"] = "shared"
    noise: float = 0.01
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_transform: Transform = "exp"

    def __post_init__(self) -> None:
        if self.d_state < 1:
            raise ValueError(f"need d_state >= 1, got {self.d_state}.")
        need_dt_range(self.dt_min, self.dt_max)


class DenseSSM(nn.Module):
    """LSSL: x' = A x + B u, y = C x with real dense A, by the bilinear rule.

    A_lower, A_diag, A_upper: the diagonals of T; A_left, A_right, A_shift: p_l, p_r, c; B: b.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = (
        "A_lower", "A_diag", "A_upper", "A_left", "A_right", "A_shift", "B", "dt",
    )  # fmt: skip

    def __init__(self, d_model: int, options: DenseOptions, *, channels: int = 1) -> None:
        super().__init__()
        self.d_model, self.channels, self.options = d_model, channels, options
        parts = transition_parts(options.transition, options.d_state, options.noise)
        for name, part in zip(self.ssm_lr_parameters, parts, strict=False):
            value = part.repeat(d_model, 1) if options.learn == "per_feature" else part
            self._keep(name, value)
        dt = initial_dt((d_model, 1), options.dt_min, options.dt_max)
        self._keep("dt", unconstrained(dt, options.dt_transform))
        self.C = parameter(torch.randn(channels, d_model, options.d_state))
        self._cache: dict[tuple[int, float], Tensor] = {}
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def _keep(self, name: str, value: Tensor) -> None:
        value = value.to(torch.get_default_dtype())
        if self.options.learn == "fixed":
            self.register_buffer(name, value)
        else:
            self.register_parameter(name, nn.Parameter(value))

    def forget(self) -> None:
        """Forget what was made of a fixed system whose values were set anew."""
        self._cache = {}

    def system(self) -> tuple[Float[Tensor, "*h N N"], Float[Tensor, "*h N"]]:
        """(A, B) in float64, of each feature if per_feature."""
        parts = (getattr(self, name).double() for name in self.ssm_lr_parameters[:-1])
        lower, main, upper, left, right, shift, b = parts
        T = (
            torch.diag_embed(main)
            + torch.diag_embed(lower, offset=-1)
            + torch.diag_embed(upper, offset=1)
        )
        middle = torch.linalg.inv(T) + torch.diag_embed(shift)
        return -left.unsqueeze(-1) * middle * right.unsqueeze(-2), left * b

    def _per_feature(self, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        A, B = self.system()
        dt = step_size(cast(Tensor, self.dt), self.options.dt_transform) * rate
        N = self.options.d_state
        return A.expand(self.d_model, N, N), B.expand(self.d_model, N), dt

    def kernel(self, length: int, rate: float = 1.0) -> Float[Tensor, "C H L"]:
        """The convolution kernel of `length` steps on a grid `rate` times as coarse as training."""
        if self.options.learn == "fixed":
            return torch.einsum("chn,hnl->chl", self.C, self._krylov(length, rate))
        A, B, dt = self._per_feature(rate)
        return dense_kernel(A, B, self.C, dt, length)

    def _krylov(self, length: int, rate: float) -> Float[Tensor, "H N L"]:
        """A_bar^l B_bar, kept for the next call; made again for another device or dtype."""
        found = self._cache.get((length, rate))
        if found is None or (found.dtype, found.device) != (self.C.dtype, self.C.device):
            # What inference mode makes could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                found = krylov_matrix(*self._per_feature(rate), length).to(self.C.dtype)
            self._cache = {(length, rate): found}
        return found

    def tables(self, block: int, rate: float = 1.0) -> ChunkTables:
        """The tables of `ops.chunk.chunk_scan` over blocks of `block` steps (a power of two)."""
        A, B, dt = self._per_feature(rate)
        return dense_tables(A, B, self.C, dt, block)

    def initial_state(self, batch: int, rate: float = 1.0) -> StepState:
        """The zero state for step mode; make a new one after parameters have changed."""
        E, B_bar = dense_discretize(*self._per_feature(rate))
        A_bar = (E + torch.eye(E.shape[-1], dtype=E.dtype, device=E.device)).to(self.C.dtype)
        x = torch.zeros(batch, *B_bar.shape, dtype=self.C.dtype, device=E.device)
        return StepState(x, (A_bar, B_bar.to(self.C.dtype), self.C))

    def step(
        self, u: Float[Tensor, "B H"], state: StepState
    ) -> tuple[Float[Tensor, "B D"], StepState]:
        """One step of the recurrence, (B, H) to (B, C * H), channel-major."""
        A_bar, B_bar, C = state.system
        moved = torch.bmm(state.x.transpose(0, 1), A_bar.transpose(1, 2)).transpose(0, 1)
        x = torch.addcmul(moved, B_bar, u.unsqueeze(-1).to(B_bar.dtype))
        return (x.unsqueeze(1) * C).sum(-1).flatten(1), StepState(x, state.system)


def _forget(system: DenseSSM, _: object) -> None:
    system.forget()


def transition_parts(name: Transition, N: int, noise: float) -> list[Tensor]:
    """(lower, diagonal, upper, p_l, p_r, c, b) in float64 of a family, 0-based.

    LegT is twice the matrix of `hippo("legt")`, as published; noise keeps its T invertible.
    Source: arXiv:2110.13985, appendix E.
    """
    i = torch.arange(N, dtype=torch.float64)
    one, zero, short = torch.ones_like(i), torch.zeros_like(i), torch.ones(N - 1).double()
    p = torch.sqrt(2 * i + 1)
    if name == "legs":
        return [-short, one, 0 * short, p, p.clone(), -i / (2 * i + 1), one.clone()]
    if name == "legt":
        main = zero.clone()
        main[0], main[-1] = 0.5, 0.5
        main = main + noise * torch.randn(N, dtype=torch.float64)
        return [-0.5 * short, main, 0.5 * short, p, p.clone(), zero, one]
    if name == "lagt":
        return [-short, one, 0 * short, one.clone(), one.clone(), -0.5 * one, one.clone()]
    if name == "jac":
        q = torch.sqrt(2 * i + 2)
        return [-short, one, 0 * short, q, q.clone(), zero, 2 / q]
    main = 1e-3 * torch.randn(N, dtype=torch.float64)
    half = 0.5 * short
    if name == "chebi":
        half[:1] *= 2**0.5
    return [-half, main, half.clone(), one.clone(), one.clone(), zero, one]
