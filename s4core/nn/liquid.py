"""Liquid-S4 layers: the causal recurrence, and the published kernels to compare with.

The causal one is x_k = (A_bar + B_bar u_k) x_(k-1) + B_bar u_k, exact or cut off at products of
`degree` inputs. Its states are B x L x H x N numbers; long sequences go in pieces that backward
computes again, so that memory stays bounded.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from s4core.nn.ssm_layer import SSMLayer
from s4core.ops.liquid import (
    Squash,
    correlations,
    liquid_discretize,
    liquid_scan_with_state,
    liquid_step,
    published_kb,
    published_polyb,
)
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
    """The causal liquid recurrence of a diagonal system with one channel, and its skip D.

    degree: None is exact.  Source: arXiv:2209.12951, eq. 5.
    """

    takes_dt: ClassVar[bool] = False

    def __init__(self, system: DiagonalSSM, *, degree: int | None) -> None:
        super().__init__()
        self.system, self.degree = system, degree
        self.d_output: int = system.d_model
        self.D = nn.Parameter(torch.randn(system.d_model))

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Run whole sequences (B, L, H)."""
        return self._run(x, None, rate)[0]

    def initial_state(self, batch: int) -> LiquidState:
        """The state before the first step."""
        A, B, C, dt = self.system.system()
        A_bar, B_bar = (v.to(C.dtype) for v in liquid_discretize(A, B, dt))
        x = C.new_zeros(self.degree or 1, batch, *A.shape)
        return LiquidState(x, (A_bar, B_bar, 2.0 * C[0], self.D))

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
        A, B, C, dt = self.system.system(rate)
        z = C.new_zeros(self.degree or 1, x.shape[0], *A.shape) if z is None else z
        size = max(1, PIECE // max(1, z[0].numel()))
        outputs = []
        for u in torch.split(x.transpose(1, 2), size, dim=2):
            y, z = checkpoint(self._piece, u, A, B, C[0], dt, z, use_reentrant=False)
            outputs.append(y)
        return torch.cat(outputs, -1).transpose(1, 2), z

    def _piece(
        self, u: Tensor, A: Tensor, B: Tensor, C: Tensor, dt: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        return liquid_scan_with_state(u, A, B, C, self.D, dt, degree=self.degree, x0=z)


class PublishedLiquidLayer(nn.Module):
    """The linear layer plus the published correlation term, pb or kb: non-causal, never steps.

    Its coefficients are those of the start, as published: frozen, but buffers here, so that a
    reloaded model computes what the saved one did. all_combinations, squash: see ops/liquid.py.
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
            b = dt * B / (1.0 - dt * A / 2.0)
        self.register_buffer("b", torch.view_as_real(b).clone())
        self.register_buffer("C", torch.view_as_real(C).clone())
        self.b: Tensor
        self.C: Tensor

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Run whole sequences (B, L, H), L >= degree + 3."""
        y: Tensor = self.layer(x, rate)
        with torch.autocast(x.device.type, enabled=False):
            return y + self._term(x.transpose(1, 2).to(self.b.dtype), rate).transpose(1, 2)

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
        raise ValueError("liquid 'pb' and 'kb' see the future: only exact and truncated can step.")

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
