"""SSD, the mixer of Mamba-2: one real decay a head, computed as matrix products in chunks."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn.block import State
from s4core.nn.norm import Norm
from s4core.nn.short_conv import ShortConv
from s4core.ops.operator import Operator
from s4core.ops.plain import plain_carry
from s4core.ops.precision import full_precision
from s4core.ssm.transforms import initial_dt, unconstrained

CHUNK = 64


def ssd(x: Tensor, log_a: Tensor, B: Tensor, C: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """S_t = exp(log_a_t) S_(t-1) + x_t B_t^T, y_t = S_t C_t; returns (y, the last S).

    x (B, L, H, P), log_a (B, L, H) <= 0, B and C (B, L, H, N), S (B, H, P, N).
    Source: Mamba-2, arXiv:2405.21060, section 6 and listing 1.
    """
    length, chunk = x.shape[1], min(CHUNK, x.shape[1])
    missing = -length % chunk
    if missing:
        x, B, C = (F.pad(v, (0, 0, 0, 0, 0, missing)) for v in (x, B, C))
        log_a = F.pad(log_a, (0, 0, 0, missing))
    pieces = (x.shape[1] // chunk, chunk)
    # (B, K, H, T, .) and (B, K, H, T): K chunks of T steps.
    x, B, C = (v.reshape(v.shape[0], *pieces, *v.shape[2:]).transpose(2, 3) for v in (x, B, C))
    total = log_a.reshape(log_a.shape[0], *pieces, log_a.shape[2]).transpose(2, 3).cumsum(-1)
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    gaps = total[..., :, None] - total[..., None, :]
    decay = torch.exp(gaps.masked_fill(~lower, float("-inf")))
    inside = (C @ B.transpose(-1, -2) * decay) @ x
    to_end = torch.exp(total[..., -1:] - total)[..., None]
    gained = (x * to_end).transpose(-1, -2) @ B  # (B, K, H, P, N)
    starts, S = _carry(torch.exp(total[..., -1]), gained, S)
    carried = C @ starts.transpose(-1, -2) * torch.exp(total)[..., None]
    y = (inside + carried).transpose(2, 3).flatten(1, 2)
    return y[:, :length], S


def ssd_ref(x: Tensor, log_a: Tensor, B: Tensor, C: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """The same by its definition, step by step."""
    outputs = []
    for t in range(x.shape[1]):
        y, S = ssd_step(x[:, t], log_a[:, t], B[:, t], C[:, t], S)
        outputs.append(y)
    return torch.stack(outputs, 1), S


def ssd_step(x: Tensor, log_a: Tensor, B: Tensor, C: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """One step: x (B, H, P), log_a (B, H), B and C (B, H, N) to y (B, H, P) and the next S."""
    S = torch.addcmul(torch.exp(log_a)[..., None, None] * S, x[..., None], B[..., None, :])
    return (S @ C[..., None])[..., 0], S


def _carry_forward(decay: Tensor, gained: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """starts_k = S, then S = decay_k S + gained_k: decay (B, K, H), gained (B, K, H, P, N)."""
    starts = torch.empty_like(gained)
    for k in range(gained.shape[1]):
        starts[:, k] = S
        S = torch.addcmul(gained[:, k], decay[:, k, :, None, None], S)
    return starts, S


def _carry_backward(
    dstarts: Tensor, g: Tensor, decay: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    ddecay, dgained = torch.empty_like(decay), torch.empty_like(starts)
    for k in range(starts.shape[1] - 1, -1, -1):
        dgained[:, k] = g
        ddecay[:, k] = (g * starts[:, k]).sum((-1, -2))
        g = torch.addcmul(dstarts[:, k], decay[:, k, :, None, None], g)
    return ddecay, dgained, g


_carry = Operator(
    "ssd_carry",
    "Tensor decay, Tensor gained, Tensor S",
    "starts, end",
    keep="decay, starts",
    forward=_carry_forward,
    backward=_carry_backward,
    plain=plain_carry,
    n_results=2,
)


def check_heads(inner: int, d_head: int, n_groups: int) -> None:
    """Raise ValueError where `inner` features make no whole heads, or these no whole groups."""
    if inner % d_head or (inner // d_head) % n_groups:
        raise ValueError(
            f"need expand * d_model divisible by d_head and the heads by n_groups, got "
            f"{inner}, {d_head=}, {n_groups=}."
        )


class SSD(nn.Module):
    """in -> [z, x, B, C, dt]; y = ssd(silu(conv(x, B, C))); out(rms_norm(y * silu(z))).

    heads of d_head features share one decay; n_groups groups of heads share B and C.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_log", "dt_bias")
    takes_dt = True

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int,
        d_head: int,
        n_groups: int,
        expand: int,
        d_conv: int,
        dt_min: float,
        dt_max: float,
    ) -> None:
        super().__init__()
        inner = expand * d_model
        check_heads(inner, d_head, n_groups)
        self.d_output, self.heads, self.groups = d_model, inner // d_head, n_groups
        self.sizes = [inner, n_groups * d_state, n_groups * d_state]
        self.enter = nn.Linear(d_model, inner + sum(self.sizes) + self.heads, bias=False)
        self.conv = ShortConv(sum(self.sizes), d_conv)
        dt = initial_dt((self.heads,), dt_min, dt_max)
        self.dt_bias = nn.Parameter(unconstrained(dt, "softplus"))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = Norm("rms", inner)
        self.leave = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Tensor, rate: float = 1.0, dt: Tensor | None = None) -> Tensor:
        """Run whole sequences (B, L, d_model)."""
        return self._run(x, self.initial_state(x.shape[0]), rate, dt)[0]

    def initial_state(self, batch: int) -> State:
        """The inputs that the filter remembers, S = 0, and A of this moment."""
        d_head, d_state = self.sizes[0] // self.heads, self.sizes[1] // self.groups
        S = self.D.new_zeros(batch, self.heads, d_head, d_state)
        return self.conv.initial_state(batch), S, -self.A_log.exp()

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece of a sequence."""
        return self._run(x, state, 1.0, dt)

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step (B, d_model); dt (B,): its length in training steps."""
        z, mixed, step = self._split(self.enter(x))
        mixed, filtered = self.conv.step(mixed, state[0])
        u, B, C = self._parts(F.silu(mixed))
        step = F.softplus(step + self.dt_bias)
        step = step if dt is None else step * dt[:, None]
        y, S = ssd_step(u * step[..., None], state[2] * step, B, C, state[1])
        y = torch.addcmul(y, self.D[:, None], u).flatten(1)
        return self.leave(self.norm.step(y * F.silu(z))), (filtered, S, state[2])

    def _run(self, x: Tensor, state: State, rate: float, dt: Tensor | None) -> tuple[Tensor, State]:
        z, mixed, step = self._split(self.enter(x))
        mixed, filtered = self.conv.forward_with_state(mixed, state[0].to(mixed.dtype))
        scale = rate if dt is None else rate * dt[..., None]
        gated, S = self._scan(z, mixed, step, scale, state)
        return self.leave(gated), (filtered, S, state[2])

    @full_precision
    def _scan(
        self, z: Tensor, mixed: Tensor, step: Tensor, scale: Tensor | float, state: State
    ) -> tuple[Tensor, Tensor]:
        z, mixed, step = (v.to(self.A_log.dtype) for v in (z, mixed, step))
        u, B, C = self._parts(F.silu(mixed))
        step = (F.softplus(step + self.dt_bias) * scale).to(step.dtype)
        y, S = ssd(u * step[..., None], state[2] * step, B, C, state[1])
        y = torch.addcmul(y, self.D[:, None], u).flatten(-2)
        return self.norm.step(y * F.silu(z)), S

    def _split(self, entered: Tensor) -> tuple[Tensor, ...]:
        parts = [self.sizes[0], sum(self.sizes), self.heads]
        return torch.split(entered, parts, dim=-1)

    def _parts(self, mixed: Tensor) -> tuple[Tensor, ...]:
        """u (..., heads, d_head), B and C (..., heads, d_state) of each head."""
        u, *shared = torch.split(mixed, self.sizes, dim=-1)
        repeats = self.heads // self.groups
        B, C = (
            v.reshape(*v.shape[:-1], self.groups, 1, v.shape[-1] // self.groups)
            .expand(*v.shape[:-1], self.groups, repeats, -1).flatten(-3, -2)
            for v in shared
        )  # fmt: skip
        return u.reshape(*u.shape[:-1], self.heads, u.shape[-1] // self.heads), B, C
