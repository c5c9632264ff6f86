"""The options of a data set: a frozen dataclass made from plain data, with errors that help.

Each option either changes the prepared bytes (and so the fingerprint), or is a *view*, declared by
`view(default)`: a view is applied when a batch is read, so trying another one prepares nothing.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data_prep.errors import DataError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a data set that has none."""


def view(default: Any) -> Any:
    """Declare an option that is applied when a batch is read and prepares nothing."""
    return dataclasses.field(default=default, metadata={"view": True})


def make_options(cls: type[Any], data: Mapping[str, Any], *, dataset: str) -> Any:
    """Build the options `cls` from plain data.

    Raises DataError, with the option as its `key`, for an unknown option, a value of the wrong
    type or outside a Literal, a seed that numpy's generator does not take, and for what
    `__post_init__` refuses.
    """
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            choices = nearest(str(key), hints) if hints else "it has none."
            raise DataError(f"{dataset} has no option {key!r}: {choices}", key=str(key))
        values[key] = _convert(value, hints[key], dataset, str(key))
        if key == "seed" and hints[key] is int and not 0 <= values[key] < 1 << 32:
            raise DataError(f"{dataset}.seed wants 0 <= seed < 2**32, got {value}.", key="seed")
    try:
        return cls(**values)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{dataset}: {error}") from error


def stored_options(options: Any) -> dict[str, Any]:
    """Return, as plain data, the options that change the prepared bytes."""
    return {
        f.name: plain(getattr(options, f.name))
        for f in dataclasses.fields(options)
        if not f.metadata.get("view")
    }


def plain(value: Any) -> Any:
    """Turn an option's value into JSON-ready data."""
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def _convert(value: Any, hint: Any, dataset: str, key: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        choices = nearest(str(value), [str(a) for a in args])
        raise DataError(f"{dataset}.{key} cannot be {value!r}: {choices}", key=key)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(value, next(a for a in args if a is not type(None)), dataset, key)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(v, args[0], dataset, key) for v in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:
            raise DataError(f"{dataset}.{key} wants a finite number, got {value}.", key=key)
        return float(value)
    if type(value) is hint:
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    wanted = names.get(hint, "a list" if origin is tuple else str(hint))
    raise DataError(f"{dataset}.{key} wants {wanted}, got {value!r}.", key=key)
