"""State space arithmetic stays in the precision of its parameters, and of normal numbers."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run `function` with autocast off on every device: half-precision states are worthless.

    bfloat16 keeps three digits, and a state of 16,000 steps multiplies their loss.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return wrapped


def without_denormals(function: Callable[P, T]) -> Callable[P, T]:
    """Run `function` on a CPU with numbers below 1e-38 (in float32) as zero, in this thread.

    The powers of a mode that decays pass through these numbers, for which Intel's cores take a
    hundred times as long: see the kernels of 16,000 steps in benchmarks/README.md.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        before = are_denormals_zero()
        torch.set_flush_denormal(True)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_flush_denormal(before)

    return wrapped


def are_denormals_zero() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return sys.float_info.min * 0.5 == 0.0
