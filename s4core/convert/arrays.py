"""A bag of foreign arrays that are taken out one by one, so that none is forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from s4core.nn import layout

M = TypeVar("M")


class ConversionError(ValueError):
    """Foreign weights that do not fit the model: the message names the array."""


class Arrays:
    """Arrays by name below `prefix`; `done` says which were never taken."""

    def __init__(self, arrays: Mapping[str, Any], *, ignore: tuple[str, ...] = ()) -> None:
        self._arrays = {k: torch.as_tensor(v) for k, v in arrays.items() if not k.endswith(ignore)}
        self._taken: set[str] = set()
        self._prefix = ""

    def below(self, prefix: str) -> Arrays:
        """The same bag, with names relative to a longer prefix."""
        inner = Arrays({})
        inner._arrays, inner._taken = self._arrays, self._taken
        inner._prefix = self._prefix + prefix
        return inner

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._arrays

    def __iter__(self) -> Iterator[str]:
        """The names below the prefix, in order."""
        size = len(self._prefix)
        return (k[size:] for k in self._arrays if k.startswith(self._prefix))

    def take(self, name: str, shape: Sequence[int] | None = None) -> Tensor:
        """Take an array out; ConversionError if it is not there, or not of the shape if given."""
        full = self._prefix + name
        if full not in self._arrays:
            raise ConversionError(f"the foreign weights have no {full!r}.")
        self._taken.add(full)
        value = self._arrays[full]
        if shape is not None and value.shape != torch.Size(shape):
            raise ConversionError(_misfit(full, value, shape))
        return value

    def done(self) -> None:
        """Raise ConversionError if an array was left over."""
        left = sorted(set(self._arrays) - self._taken)
        if left:
            raise ConversionError(
                f"{len(left)} foreign weights have no place in this model: {', '.join(left[:5])}"
                f"{', ...' if len(left) > 5 else '.'}"
            )

    @contextlib.contextmanager
    def into(self, module: nn.Module) -> Iterator[None]:
        """Load all of them into `module` inside; a load that fails leaves it as it was."""
        before = {name: value.clone() for name, value in module.state_dict().items()}
        try:
            yield
            self.done()
        except BaseException:
            module.load_state_dict(before)
            raise
        # Changes no value: systems look at what they were given whenever a state is loaded.
        module.load_state_dict(module.state_dict())


def _misfit(name: str, value: Tensor, shape: Sequence[int]) -> str:
    return (
        f"{name} is {tuple(value.shape)} in the foreign weights, but this model wants "
        f"{tuple(shape)}."
    )


def wanted(module: object, kind: type[M]) -> M:
    """`module` if it is of this kind; ConversionError says what is wanted otherwise."""
    if not isinstance(module, kind):
        raise ConversionError(f"want a {kind.__name__} to load into, got {type(module).__name__}.")
    return module


def assign(parameter: Tensor | None, value: Tensor, name: str) -> None:
    """Copy `value` into a parameter of the same shape; ConversionError names it otherwise."""
    if parameter is None:
        raise ConversionError(f"this model has no {name}.")
    if parameter.shape != value.shape:
        raise ConversionError(_misfit(name, value, parameter.shape))
    with torch.no_grad():
        parameter.copy_(value)


def assign_weight(linear: nn.Linear, value: Tensor, name: str) -> None:
    """The same for the matrix of a linear map, which may be one with weight norm."""
    weight = torch.empty_like(linear.weight)
    assign(weight, value, name)
    layout.set_weight(linear, weight)


def assign_linear(linear: nn.Linear | None, arrays: Arrays, name: str = "") -> None:
    """Load a linear map kept as Linear, as 1x1 convolution, or with weight norm."""
    if linear is None:
        raise ConversionError(f"this model has no linear map for {next(iter(arrays), name)!r}.")
    if f"{name}weight_g" in arrays:
        v = arrays.take(f"{name}weight_v")
        g = arrays.take(f"{name}weight_g", (*v.shape[:1], *[1] * (v.ndim - 1)))
        weight = g * v / v.norm(dim=tuple(range(1, v.ndim)), keepdim=True)
    else:
        weight = arrays.take(f"{name}weight")
    if weight.ndim == 3 and weight.shape[2] == 1:
        weight = weight[..., 0]
    assign_weight(linear, weight, f"{name}weight")
    if linear.bias is not None:
        assign(linear.bias, arrays.take(f"{name}bias"), f"{name}bias")
