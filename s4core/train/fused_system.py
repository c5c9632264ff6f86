"""K state space systems of one shape as one system of K times the features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from s4core.ops.chunk import ChunkTables
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

    def module(self) -> Any:
        """The system, which is as damped as those that it stands for are now."""
        if isinstance(self._system, DplrSSM):
            self._system.is_damped = all(s.is_damped for s in self._systems)
        return self._system

    def parameters(self, stacked: dict[str, Tensor]) -> dict[str, Tensor]:
        """Its parameters, from those (K, ...) of the K systems."""
        if self._count == 1:
            return {name: p[0] for name, p in stacked.items()}
        return {
            name: p.movedim(0, self._axis[name] + 1).flatten(self._axis[name], self._axis[name] + 1)
            for name, p in stacked.items()
        }

    def apart(self, x: Tensor, axis: int) -> Tensor:
        """Features (H K) on `axis` as two axes K, H."""
        both = (*x.shape[:axis], -1, self._count, *x.shape[axis + 1 :])
        return x.reshape(both).transpose(axis, axis + 1)


def wide_kernels(
    systems: Sequence[WideSystem], stacked: Sequence[dict[str, Tensor]], length: int
) -> list[Tensor]:
    """The kernels (C, K, H, L) of the systems of layers that are alike, made together.

    stacked: the parameters of each, (K, ...) by name.
    """
    made = _called(systems, stacked, lambda modules: modules[0].kernels(modules, length))
    return [system.apart(kernel, 1) for system, kernel in zip(systems, made, strict=True)]


def wide_tables(system: WideSystem, stacked: dict[str, Tensor], block: int) -> ChunkTables:
    """The tables over blocks of the recurrence of the K systems, of K * H features."""

    def ordered(x: Tensor, axis: int = 0) -> Tensor:
        return system.apart(x, axis).flatten(axis, axis + 1)

    made: ChunkTables = _called([system], [stacked], lambda modules: modules[0].tables(block))
    return dataclasses.replace(
        made,
        kernel=ordered(made.kernel, 1),
        write=ordered(made.write),
        read=ordered(made.read, 1),
        carry=lambda steps: ordered(made.carry(steps)),
    )


def _called(
    systems: Sequence[WideSystem],
    stacked: Sequence[dict[str, Tensor]],
    make: Callable[[Any], Any],
) -> Any:
    """What `make` makes of the systems' modules, with the stacked parameters in them."""
    own = {
        f"systems.{i}.{name}": parameter
        for i, (system, parameters) in enumerate(zip(systems, stacked, strict=True))
        for name, parameter in system.parameters(parameters).items()
    }
    return functional_call(_Systems(system.module() for system in systems), own, (make,))


def _options(system: DiagonalSSM | DplrSSM, *, n_ssm: int) -> Any:
    """The options of the system alone: a model's refuse more copies than it has features."""
    kind = DplrOptions if isinstance(system, DplrSSM) else DiagonalOptions
    fields = {f.name: getattr(system.options, f.name) for f in dataclasses.fields(kind)}
    return kind(**{**fields, "n_ssm": n_ssm})


class _Systems(nn.Module):
    """A function of systems as a forward, which functional_call needs."""

    def __init__(self, systems: Iterable[nn.Module]) -> None:
        super().__init__()
        self.systems: Any = nn.ModuleList(systems)

    def forward(self, make: Callable[[Any], Any]) -> Any:
        return make(self.systems)
