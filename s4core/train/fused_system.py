"""K state space systems of one shape as one system of K times the features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.dplr import DplrOptions, DplrSSM


class WideSystem:
    """One system of K d_model features that stands for K systems.

    Its features are ordered (H, K): with n_ssm copies, feature h uses copy h mod n_ssm, and that
    order keeps this true of K n_ssm copies.
    """

    def __init__(self, systems: Sequence[Any]) -> None:
        first, self._count, self._systems = systems[0], len(systems), systems
        rest = {"l_max": first.l_max} if isinstance(first, DplrSSM) else {}
        with torch.random.fork_rng(devices=[]), torch.device(first.C.device):
            self._system = type(first)(
                first.d_model * self._count,
                _options(first, n_ssm=first.copies * self._count),
                channels=first.channels,
                **rest,
            )
        mine = dict(self._system.named_parameters())
        self._axis = {}
        for name, parameter in first.named_parameters():
            sizes = zip(parameter.shape, mine[name].shape, strict=True)
            self._axis[name] = [i for i, (a, b) in enumerate(sizes) if b == a * self._count][0]

    def kernel(self, stacked: dict[str, Tensor], length: int) -> Tensor:
        """The kernels (C, K, H, L) of the K systems with parameters (K, ...)."""
        if isinstance(self._system, DplrSSM):
            self._system.is_damped = all(s.is_damped for s in self._systems)
        if self._count == 1:
            own = {name: p[0] for name, p in stacked.items()}
        else:
            own = {
                name: p.movedim(0, self._axis[name] + 1).flatten(
                    self._axis[name], self._axis[name] + 1
                )
                for name, p in stacked.items()
            }
        k: Tensor = functional_call(
            _Kernel(self._system), {f"system.{n}": p for n, p in own.items()}, (length,)
        )
        return k.view(k.shape[0], -1, self._count, k.shape[-1]).transpose(1, 2)


def _options(system: DiagonalSSM | DplrSSM, *, n_ssm: int) -> Any:
    """The options of the system alone: a model's refuse more copies than it has features."""
    kind = DplrOptions if isinstance(system, DplrSSM) else DiagonalOptions
    fields = {f.name: getattr(system.options, f.name) for f in dataclasses.fields(kind)}
    return kind(**{**fields, "n_ssm": n_ssm})


class _Kernel(nn.Module):
    """`system.kernel` as a forward, which functional_call needs."""

    def __init__(self, system: nn.Module) -> None:
        super().__init__()
        self.system: Any = system

    def forward(self, length: int) -> Tensor:
        k: Tensor = self.system.kernel(length)
        return k
