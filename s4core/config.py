"""What a model is asked to be (`@config` dataclasses) and its task (`TaskShape`).

A config is flat data: frozen, keyword-only, every field typed, checked when it is made. It comes
from a mapping (a YAML block) through `from_mapping`, whose errors name the dotted path, the choices
and the nearest one, so that a caller that knows line numbers only has to add them.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
from collections.abc import Collection, Mapping
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")

Scalar = bool | int | float | str | None


class ConfigError(ValueError):
    """A config that cannot be: `path` is the dotted path of the value that is wrong."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass; `__post_init__` checks relations of fields."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def nearest(name: str, choices: Collection[str]) -> str:
    """Say which of `choices` there are and, where one is close to `name`, that it may be meant."""
    if not choices:
        return "there are none."
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"choose from {', '.join(sorted(choices))}.{hint}"


def from_mapping(cls: type[T], data: Mapping[str, Any], *, path: str = "") -> T:
    """Build the config `cls` from plain data.

    Raises ConfigError for an unknown key, a missing one, a value of the wrong type or outside a
    Literal, and for what `__post_init__` refuses (its message then names the field itself).
    """
    assert dataclasses.is_dataclass(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in fields:
            raise ConfigError(here, f"unknown key {key!r}: {nearest(str(key), fields.keys())}")
        values[key] = convert(value, hints[key], path=here)
    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise ConfigError(path, f"needs the key {name!r}.")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(path, str(error)) from error


def to_mapping(value: Any) -> dict[str, Any]:
    """Turn a config into JSON-ready data; `from_mapping` is the inverse."""
    return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def convert(value: Any, hint: Any, *, path: str) -> Any:
    """Check that `value` fits the type `hint`; ints become floats and lists tuples where asked."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        raise ConfigError(
            path, f"no choice {value!r}: {nearest(str(value), [str(a) for a in args])}"
        )
    if origin in (Union, types.UnionType):
        return _convert_union(value, args, path)
    if origin is tuple:
        return _convert_tuple(value, args, path)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:
            raise ConfigError(path, f"wants a finite number, got {value}.")
        return float(value)
    if hint is Any or type(value) is hint:
        return value
    raise ConfigError(path, _mismatch(value, hint))


def _convert_union(value: Any, args: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    for option in options[:-1]:
        try:
            return convert(value, option, path=path)
        except ConfigError:
            continue
    return convert(value, options[-1], path=path)


def _convert_tuple(value: Any, args: tuple[Any, ...], path: str) -> Any:
    if not isinstance(value, list | tuple):
        raise ConfigError(path, f"wants a list, got {value!r}.")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(convert(v, args[0], path=f"{path}.{i}") for i, v in enumerate(value))
    if len(value) != len(args):
        raise ConfigError(path, f"wants {len(args)} values, got {len(value)}.")
    return tuple(
        convert(v, a, path=f"{path}.{i}") for i, (v, a) in enumerate(zip(value, args, strict=True))
    )


def _mismatch(value: Any, hint: Any) -> str:
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    text = f"wants {wanted.get(hint, getattr(hint, '__name__', str(hint)))}, got {value!r}"
    if isinstance(value, str) and hint in (int, float):
        try:
            number = float(value)
        except ValueError:
            return f"{text}."
        # YAML 1.1 reads 1e-4 as text: a number needs a dot before the e.
        return f"{text}, which YAML reads as text; write {_yaml_number(number, hint)}."
    return f"{text}."


def _yaml_number(number: float, hint: Any) -> str:
    if hint is int and number == int(number):
        return str(int(number))
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    return text if not e or "." in mantissa else f"{mantissa}.0e{exponent}"


@config
class TaskShape:
    """What a task feeds a model and wants back; it fixes the encoder, the decoder and the loss.

    d_input: channels of a float input, or the size of the vocabulary when `tokens`.
    d_output: classes or regression values.
    length: longest sequence (l_max), in steps; for images of several axes their product.
    target: "class" one label a sequence, "step_class" one a step (language models, generation),
        "value" d_output numbers a sequence, "step_value" d_output numbers a step.
    ragged: sequences have their own lengths, and x is padded on the right with 0.
    pairs: the batch holds 2 B documents, the first of each pair in rows 0..B-1 (retrieval).
    irregular: each step comes with the time since the one before it (`dt`, shape (B, L)).
    axes: extents of each axis for S4ND (row-major, product = length); () for plain sequences.
    """

    d_input: int
    d_output: int
    length: int
    tokens: bool = False
    target: Literal["class", "step_class", "value", "step_value"] = "class"
    ragged: bool = False
    pairs: bool = False
    irregular: bool = False
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("d_input", "d_output", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"need {name} >= 1, got {getattr(self, name)}.")
        if self.axes and math.prod(self.axes) != self.length:
            raise ValueError(f"need axes whose product is length {self.length}, got {self.axes}.")
