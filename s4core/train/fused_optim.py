"""AdamW over stacked parameters, with the rates and decays of each of the K models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

EPS = 1e-8  # torch's default, which `build_optimizer` leaves


class StackedAdamW:
    """torch's AdamW for parameters (K, ...), begun from and written back to K of torch's own.

    parameters: by name, as in the `param_names` of the optimisers' groups. rates: for each model
    the rate of each of its groups; the caller keeps them up to date.
    """

    def __init__(self, parameters: dict[str, Tensor], optimizers: Sequence[Optimizer]) -> None:
        self._optimizers = optimizers
        self._each = [_by_name(optimizer) for optimizer in optimizers]
        self._names = list(self._each[0])
        self._parameters = [parameters[name] for name in self._names]
        self._betas = optimizers[0].param_groups[0]["betas"]
        self._mean = [self._stack(name, "exp_avg") for name in self._names]
        self._square = [self._stack(name, "exp_avg_sq") for name in self._names]
        self._done = [_steps(optimizer) for optimizer in optimizers]
        groups = optimizers[0].param_groups
        self._group_of = [
            next(g for g, group in enumerate(groups) if name in group["param_names"])
            for name in self._names
        ]
        self.rates = [[float(g["lr"]) for g in o.param_groups] for o in optimizers]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, clips: Sequence[float | None]) -> None:
        """One step of every model; clips: the largest norm of each one's gradient."""
        beta1, beta2 = self._betas
        gradients = [
            p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters
        ]
        if any(clip is not None for clip in clips):
            self._clip(gradients, clips)
        self._done = [done + 1 for done in self._done]
        rates, decays, roots = self._factors()
        torch._foreach_mul_(self._parameters, decays)
        torch._foreach_lerp_(self._mean, gradients, 1 - beta1)
        torch._foreach_mul_(self._square, beta2)
        torch._foreach_addcmul_(self._square, gradients, gradients, 1 - beta2)
        divisor = torch._foreach_sqrt(self._square)
        torch._foreach_div_(divisor, roots)
        torch._foreach_add_(divisor, EPS)
        update = torch._foreach_div(self._mean, divisor)
        torch._foreach_mul_(update, rates)
        torch._foreach_sub_(self._parameters, update)

    @torch.no_grad()
    def scatter(self) -> None:
        """Write moments and step counts back into the optimisers."""
        for k, (optimizer, by_name) in enumerate(zip(self._optimizers, self._each, strict=True)):
            for name, mean, square in zip(self._names, self._mean, self._square, strict=True):
                parameter = by_name[name]
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(self._done[k]), device=parameter.device),
                    "exp_avg": mean[k].clone(),
                    "exp_avg_sq": square[k].clone(),
                }

    def _factors(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Per parameter, (K, 1, ...): lr / (1 - beta1^t), 1 - lr decay, sqrt(1 - beta2^t)."""
        beta1, beta2 = self._betas
        groups = range(len(self.rates[0]))
        small: list[tuple[Tensor, Tensor]] = []
        for g in groups:
            lr = [rates[g] for rates in self.rates]
            decay = [float(o.param_groups[g]["weight_decay"]) for o in self._optimizers]
            rate = [r / (1 - beta1**t) for r, t in zip(lr, self._done, strict=True)]
            keep = [1 - r * d for r, d in zip(lr, decay, strict=True)]
            small.append((self._column(rate), self._column(keep)))
        root = self._column([math.sqrt(1 - beta2**t) for t in self._done])
        pairs = [small[g] for g in self._group_of]
        return (
            [_as(pair[0], p) for pair, p in zip(pairs, self._parameters, strict=True)],
            [_as(pair[1], p) for pair, p in zip(pairs, self._parameters, strict=True)],
            [_as(root, p) for p in self._parameters],
        )

    def _clip(self, gradients: list[Tensor], clips: Sequence[float | None]) -> None:
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        limit = self._column([math.inf if clip is None else clip for clip in clips])
        scale = (limit / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, [_as(scale, g) for g in gradients])

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, device=self._parameters[0].device)

    def _stack(self, name: str, what: str) -> Tensor:
        found = []
        for optimizer, by_name in zip(self._optimizers, self._each, strict=True):
            state: dict[str, Any] = optimizer.state.get(by_name[name], {})
            found.append(state.get(what, torch.zeros_like(by_name[name])))
        return torch.stack([f.detach() for f in found])


def _as(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _by_name(optimizer: Optimizer) -> dict[str, Tensor]:
    pairs = (zip(g["param_names"], g["params"], strict=True) for g in optimizer.param_groups)
    return {name: parameter for group in pairs for name, parameter in group}


def _steps(optimizer: Optimizer) -> int:
    return max((int(state["step"]) for state in optimizer.state.values()), default=0)
