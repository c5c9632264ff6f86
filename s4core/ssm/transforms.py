"""Positive numbers as unconstrained parameters: p = f(raw) for -Re A, -Im A and dt."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F

from ..shapes import Float, Tensor

Transform = Literal["none", "exp", "relu", "sigmoid", "softplus"]

# The published floor: what is smaller starts there, since log 0 is no parameter.
FLOOR = 1e-4
# Beyond these a kernel is zero or NaN; the published code meets 0 / 0 when dt underflows.
DT_RANGE = (1e-6, 1e4)


def positive(raw: Float[Tensor, " ..."], transform: Transform) -> Float[Tensor, " ..."]:
    """The value that a parameter stands for; relu keeps a distance of 1e-4 to zero."""
    if transform == "exp":
        return torch.exp(raw)
    if transform == "relu":
        return F.relu(raw) + FLOOR
    if transform == "sigmoid":
        return torch.sigmoid(raw)
    if transform == "softplus":
        return F.softplus(raw)
    return raw


def step_size(raw: Float[Tensor, " ..."], transform: Transform) -> Float[Tensor, " ..."]:
    """dt = f(raw), kept between 1e-6 and 1e4."""
    if transform == "exp":
        # Clamped before the exponential: the gradient of an infinity is NaN.
        return raw.clamp(math.log(DT_RANGE[0]), math.log(DT_RANGE[1])).exp()
    return positive(raw, transform).clamp(*DT_RANGE)


def unconstrained(value: Float[Tensor, " ..."], transform: Transform) -> Float[Tensor, " ..."]:
    """The parameter that stands for `value`; below 1e-4 it is that of 1e-4, except for none.

    Raises ValueError where a sigmoid should be 1 or more.
    """
    if transform == "none":
        return value
    value = value.clamp(min=FLOOR)
    if transform == "exp":
        return torch.log(value)
    if transform == "relu":
        # Not 0, where the gradient of relu is 0 for good.
        return (value - FLOOR).clamp(min=1e-12)
    if transform == "sigmoid":
        if bool((value >= 1).any()):
            raise ValueError(
                f"a sigmoid stays below 1, but the initial value is {value.max().item():.4g}; "
                "take another transform or init."
            )
        return torch.logit(value)
    return value + torch.log(-torch.expm1(-value))


def need_dt_range(dt_min: float, dt_max: float) -> None:
    """Raise ValueError unless 0 < dt_min <= dt_max."""
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"need 0 < dt_min <= dt_max, got {dt_min=}, {dt_max=}.")


def initial_dt(
    shape: tuple[int, ...], dt_min: float, dt_max: float, *, deterministic: bool = False
) -> Float[Tensor, " ..."]:
    """Steps between dt_min and dt_max, log-uniform, or evenly spaced in the log along dim 0.

    Raises ValueError unless 0 < dt_min <= dt_max.
    """
    need_dt_range(dt_min, dt_max)
    low, high = math.log(dt_min), math.log(dt_max)
    if deterministic:
        steps = torch.linspace(low, high, shape[0]).exp()
        return steps.view(-1, *[1] * (len(shape) - 1)).expand(shape).clone()
    return (torch.rand(shape) * (high - low) + low).exp()
