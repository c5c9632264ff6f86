"""Liquid-S4 layers: the causal recurrence, and the published kernels to compare with.

The causal one is x_k = (A_bar + B_bar u_k) x_(k-1) + B_bar u_k, exact or cut off at products of
`degree` inputs. Its states are B x L x H x N numbers; long sequences go in pieces that backward
computes again, so that memory stays bounded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from s4core.nn.block import State
from s4core.nn.ssm_layer import SSMLayer
from s4core.ops.liquid import (
    dense_liquid_scan,
    liquid_discretize,
    liquid_scan_with_state,
    liquid_step,
    symmetric_polynomials,
)
from s4core.ops.liquid_published import Squash, correlations, published_kb, published_polyb
from s4core.ops.precision import full_precision
from s4core.ssm.diagonal import DiagonalSSM
from s4core.ssm.dplr import DplrSSM

# Complex numbers in one piece's states: 128 MB in float32.
PIECE = 1 << 24


class LiquidState(NamedTuple):
    """x: (degree, B, H, n); system: A_bar, B_bar, C, D when the state was made."""

    x: Tensor
    system: tuple[Tensor, ...]


class LiquidLayer(nn.Module):
    """The causal liquid recurrence of a system with one channel, and its skip D.

    degree: None is exact; with a low-rank term that goes one step after the other, since the
    factors do not commute.  Source: arXiv:2209.12951, eq. 5.
    """

    takes_dt: ClassVar[bool] = False

    def __init__(self, system: DiagonalSSM | DplrSSM, *, degree: int | None) -> None:
        super().__init__()
        self.system, self.degree = system, degree
        self.d_output: int = system.d_model
        self.D = nn.Parameter(torch.randn(system.d_model))

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Run whole sequences (B, L, H)."""
        return self._run(x, None, rate)[0]

    def initial_state(self, batch: int) -> LiquidState:
        """The state before the first step."""
        A_bar, B_bar, C = self._discretized(1.0)
        x = C.new_zeros(self.degree or 1, batch, *C.shape)
        return LiquidState(x, (A_bar, B_bar, 2.0 * C, self.D))

    def _discretized(self, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """(A_bar, B_bar, C) in the precision of the parameters; A_bar as `liquid_step` wants it."""
        if isinstance(self.system, DplrSSM):
            first, B_bar, C = self.system.discretize(rate)
            eye = torch.eye(2 * B_bar.shape[-1], dtype=torch.float64, device=B_bar.device)
            dtype = self.D.dtype
            half = torch.promote_types(dtype, torch.complex64)
            return (first.dense() + eye).to(dtype), B_bar.to(half), C[0].to(half)
        A, B, C, dt = self.system.system(rate)
        A_bar, B_bar = (v.to(C.dtype) for v in liquid_discretize(A, B, dt))
        return A_bar, B_bar, C[0]

    def step(self, x: Tensor, state: LiquidState) -> tuple[Tensor, LiquidState]:
        """Run one step (B, H)."""
        A_bar, B_bar, C, D = state.system
        z = liquid_step(x, state.x, A_bar, B_bar, exact=self.degree is None)
        y = (C * z.sum(0)).sum(-1).real
        return torch.addcmul(y, x, D), state._replace(x=z)

    def forward_with_state(self, x: Tensor, state: LiquidState) -> tuple[Tensor, LiquidState]:
        """Run a piece (B, l, H)."""
        y, z = self._run(x, state.x, 1.0)
        return y, state._replace(x=z)

    @full_precision
    def _run(self, x: Tensor, z: Tensor | None, rate: float) -> tuple[Tensor, Tensor]:
        piece: Callable[..., tuple[Tensor, Tensor]]
        system: tuple[Tensor, ...]
        if isinstance(self.system, DplrSSM):
            piece, system = self._dense_piece, self._discretized(rate)
        else:
            A, B, channels, dt = self.system.system(rate)
            piece, system = self._piece, (A, B, channels[0], dt)
        C = system[2]
        z = C.new_zeros(self.degree or 1, x.shape[0], *C.shape) if z is None else z
        size = max(1, PIECE // max(1, z[0].numel()))
        # torch.func knows no checkpoints.
        again = not torch._C._are_functorch_transforms_active()
        run = functools.partial(checkpoint, piece, use_reentrant=False) if again else piece
        outputs = []
        for u in torch.split(x.transpose(1, 2), size, dim=2):
            y, z = run(u, z, *system)
            outputs.append(y)
        return torch.cat(outputs, -1).transpose(1, 2), z

    def _piece(
        self, u: Tensor, z: Tensor, A: Tensor, B: Tensor, C: Tensor, dt: Tensor
    ) -> tuple[Tensor, Tensor]:
        return liquid_scan_with_state(u, A, B, C, self.D, dt, degree=self.degree, x0=z)

    def _dense_piece(
        self, u: Tensor, z: Tensor, A_bar: Tensor, B_bar: Tensor, C: Tensor
    ) -> tuple[Tensor, Tensor]:
        return dense_liquid_scan(u, A_bar, B_bar, C, self.D, degree=self.degree, x0=z)


class CausalPBLayer(nn.Module):
    """The linear layer plus sum_(p = 2..degree) 2 Re(C B_bar^p) e_p(u_0 .. u_k).

    e_p is the sum of all products of p inputs so far: the liquid recurrence with A_bar = 1 in its
    correlation terms, which is what mode PB of the paper means, causal and trained.
    Source: arXiv:2209.12951, section 3.2.
    """

    takes_dt: ClassVar[bool] = False

    def __init__(self, layer: SSMLayer, *, degree: int) -> None:
        super().__init__()
        self.layer, self.degree, self.d_output = layer, degree, layer.d_output

    def _weights(self, rate: float) -> Tensor:
        """2 Re sum_n C B_bar^p, (p, H), for p = 2 .. degree."""
        _, B_bar, C = self.layer.ssm.discretize(rate)
        powers = [B_bar**p for p in range(2, self.degree + 1)]
        weights: Tensor = 2.0 * (C[0] * torch.stack(powers)).sum(-1).real
        return weights.to(self.layer.D.dtype)

    @full_precision
    def _term(self, x: Tensor, e0: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        e = symmetric_polynomials(x.transpose(1, 2).to(w.dtype), self.degree, e0)
        return torch.einsum("pbhl,ph->blh", e[1:], w), e[..., -1]

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Run whole sequences (B, L, H)."""
        y: Tensor = self.layer(x, rate)
        return y + self._term(x, None, self._weights(rate))[0]

    def initial_state(self, batch: int) -> State:
        """The linear layer's state, e_1 .. e_degree (p, B, H), and the weights of this moment."""
        w = self._weights(1.0)
        e = w.new_zeros(self.degree, batch, w.shape[1])
        return self.layer.initial_state(batch), e, w

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step (B, H)."""
        inner, e, w = state
        y, inner = self.layer.step(x, inner)
        e = e + x * torch.cat([torch.ones_like(e[:1]), e[:-1]])
        return y + torch.einsum("pbh,ph->bh", e[1:], w), (inner, e, w)

    def forward_with_state(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run a piece (B, l, H)."""
        inner, e, w = state
        y, inner = self.layer.forward_with_state(x, inner)
        term, e = self._term(x, e, w)
        return y + term, (inner, e, w)


class PublishedLiquidLayer(nn.Module):
    """The linear layer plus the published correlation term, pb or kb: non-causal, never steps.

    Its coefficients are those of the start, as published: frozen, but buffers here, so that a
    reloaded model computes what the saved one did. all_combinations, squash: see
    ops/liquid_published.py.
    """

    takes_dt: ClassVar[bool] = False

    def __init__(
        self,
        layer: SSMLayer,
        *,
        kernel: str,
        degree: int,
        all_combinations: bool,
        squash: Squash,
    ) -> None:
        super().__init__()
        self.layer, self.d_output = layer, layer.d_output
        self.kernel, self.degree = kernel, degree
        self.all_combinations, self.squash = all_combinations, squash
        with torch.no_grad():
            A, B, C, dt = _start(layer.ssm)
            b = (dt * B / (1.0 - dt * A / 2.0)).to(B.dtype)
            self.register_buffer("b", torch.view_as_real(b).clone())
            self.register_buffer("C", torch.view_as_real(C).clone())
        self.b: Tensor
        self.C: Tensor

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Run whole sequences (B, L, H), L >= degree + 3."""
        y: Tensor = self.layer(x, rate)
        return y + self._term(x.transpose(1, 2).to(self.b.dtype), rate).transpose(1, 2)

    @full_precision
    def _term(self, u: Tensor, rate: float) -> Tensor:
        b = torch.view_as_complex(self.b)
        products = correlations(
            u, self.degree, all_combinations=self.all_combinations, squash=self.squash
        )
        bidirectional = self.layer.bidirectional
        if self.kernel == "pb":
            C = torch.view_as_complex(self.C)
            return published_polyb(b, C, products, bidirectional=bidirectional)
        k: Tensor = self.layer.ssm.kernel(u.shape[-1], rate)
        k = torch.cat([k[0], k[1].flip(-1)], -1) if bidirectional else k[0]
        return published_kb(b, k, products)

    def initial_state(self, batch: int) -> NoReturn:
        """Raise ValueError: the published term sees the future."""
        raise ValueError("liquid 'pb' and 'kb' see the future: they alone cannot step.")

    def step(self, x: Tensor, state: Any) -> NoReturn:
        """Raise ValueError."""
        self.initial_state(x.shape[0])

    def forward_with_state(self, x: Tensor, state: Any) -> NoReturn:
        """Raise ValueError."""
        self.initial_state(x.shape[0])


def _start(system: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(A, B, plain C, dt) of the diagonal part; the published term forgets P."""
    if isinstance(system, DiagonalSSM):
        return system.system()
    assert isinstance(system, DplrSSM)
    A, _, B = system.system()
    return A, B, system.plain_readout().to(B.dtype), system.steps(1.0)
