"""LAMB: Adam whose step on each tensor is as long as the tensor itself, for very large batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Norms of weights beyond this do not make steps longer, as in the published code.
LARGEST_NORM = 10.0


class Lamb(torch.optim.Optimizer):
    """x -= lr phi(|x|) / |r| r with r = m / (sqrt(v) + eps) + weight_decay x, for each tensor.

    m, v: Adam's moments, without bias; phi(z) = min(z, 10); where x or r is 0 the factor is 1.
    params: tensors, pairs of name and tensor, or groups of them.  lr >= 0, 0 <= betas < 1.
    Source: arXiv:1904.00962, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step along the gradients that there are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _step(parameter, self.state[parameter], group)
        return loss


def _step(x: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    assert x.grad is not None
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(x), torch.zeros_like(x)
    state["step"] += 1
    (beta1, beta2), t = group["betas"], int(state["step"])
    m = state["exp_avg"].lerp_(x.grad, 1.0 - beta1)
    v = state["exp_avg_sq"].mul_(beta2).addcmul_(x.grad, x.grad, value=1.0 - beta2)
    root = (v / (1.0 - beta2**t)).sqrt_().add_(group["eps"])
    r = (m / (1.0 - beta1**t)).div_(root).add_(x, alpha=group["weight_decay"])
    size, length = x.norm().clamp(max=LARGEST_NORM), r.norm()
    # Chosen on the device: a comparison here would wait for it at every tensor.
    trust = torch.where((size > 0) & (length > 0), size / length, 1.0)
    x.sub_(r.mul_(trust), alpha=group["lr"])
