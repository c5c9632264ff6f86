"""From YAML to nodes: which mappings are ranges, and what a range may look like."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from s4core.config import ConfigError, convert, nearest

from .errors import SpecError
from .expressions import Expression, ExpressionError
from .nodes import Choice, Derived, Fixed, Node, Normal, Number, Scalar, Series, Table
from .yaml_tree import Path_, YamlTree, dotted

LARGEST = 1 << 53  # whole numbers up to here are exact in the samplers' floats
RANGES = ("choice", "uniform", "log_uniform", "int", "log_int", "normal")


def is_range(value: Any) -> bool:
    """Whether a YAML value is a range (or a derived value) rather than a plain one."""
    return isinstance(value, Mapping) and any(key in value for key in (*RANGES, "expr"))


class RangeParser:
    """Turns a tree into nodes; raises SpecError for a range that cannot be."""

    def __init__(self, tree: YamlTree) -> None:
        self._tree = tree
        self._names: dict[str, Path_] = {}

    def parse(self, value: Any, at: Path_, name: str) -> Node:
        """Parse `value`, written at `at`; its parameters are named below `name`."""
        if isinstance(value, Mapping):
            if is_range(value):
                return self._range(value, at, name)
            self._refuse_near_range(value, at)
            below = f"{name}." if name else ""
            return Table(at, {k: self.parse(v, (*at, k), f"{below}{k}") for k, v in value.items()})
        if isinstance(value, list | tuple):
            children = tuple(self.parse(v, (*at, i), f"{name}.{i}") for i, v in enumerate(value))
            if all(isinstance(child, Fixed) for child in children):
                return Fixed(at, list(value))
            return Series(at, children)
        return Fixed(at, value)

    def _range(self, value: Mapping[str, Any], at: Path_, name: str) -> Node:
        kinds = [key for key in (*RANGES, "expr") if key in value]
        if len(kinds) > 1:
            raise self._error(at, f"two ranges in one value ({' and '.join(kinds)}); keep one.")
        kind = kinds[0]
        if kind == "choice":
            return self._choice(value, at, name)
        allowed = {"int": {"int", "step"}, "uniform": {"uniform", "step"}}.get(kind, {kind})
        for key in value:
            if key not in allowed:
                raise self._error((*at, key), f"unknown key {key!r} beside {kind!r}.")
        if kind == "expr":
            return self._derived(value[kind], at)
        low, high = self._two_numbers(value[kind], kind, (*at, kind))
        self._claim(name, at)
        try:
            if kind == "normal":
                if high <= 0:
                    raise ValueError("normal wants [mean, std] with std > 0.")
                return Normal(at, name, low, high)
            return Number(at, name, _distribution(kind, low, high, value.get("step")))
        except ValueError as error:
            raise self._error((*at, kind), str(error)) from error

    def _refuse_near_range(self, value: Mapping[str, Any], at: Path_) -> None:
        """Say of `{loguniform: [1, 2]}` what it should be; a block has other keys."""
        if len(value) != 1 or len(at) < 2:
            return
        ((key, inner),) = value.items()
        near = difflib.get_close_matches(key.lower(), RANGES, n=1, cutoff=0.75)
        if near and isinstance(inner, list | tuple):
            raise self._error((*at, key), f"no range {key!r}: {nearest(near[0], RANGES)}")

    def _two_numbers(self, value: Any, kind: str, at: Path_) -> tuple[float, float]:
        what = "[mean, std]" if kind == "normal" else "[low, high]"
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise self._error(at, f"{kind} wants {what}, got {value!r}.")
        for i, item in enumerate(value):
            self._number(item, kind, (*at, i))
        return value[0], value[1]

    def _number(self, item: Any, kind: str, at: Path_) -> None:
        try:
            convert(item, float, path="")
        except ConfigError as error:
            raise self._error(at, error.message) from None
        whole = kind in ("int", "log_int")
        if whole and not isinstance(item, int):
            raise self._error(at, f"{kind} wants whole numbers, got {item!r}.")
        if whole and abs(item) > LARGEST:
            raise self._error(at, f"{kind} wants whole numbers up to 2**53, got {item!r}.")

    def _choice(self, value: Mapping[str, Any], at: Path_, name: str) -> Choice:
        options = value["choice"]
        if not isinstance(options, list | tuple):
            raise self._error((*at, "choice"), f"choice wants a list, got {options!r}.")
        if not options:
            raise self._error((*at, "choice"), "an empty choice; give at least one option.")
        for i, option in enumerate(options):
            if option != option:
                raise self._error((*at, "choice", i), "nan is no value.")
        beside = [key for key in value if key != "choice"]
        if beside and not all(isinstance(o, Mapping) and not is_range(o) for o in options):
            raise self._error(
                (*at, beside[0]),
                f"{beside[0]!r} beside a choice is common to its blocks, "
                "but not every option is a block.",
            )
        self._claim(name, at)
        labels = self._labels(options, at)
        below = f"{name}." if name else ""
        nodes = tuple(
            self.parse(option, (*at, "choice", i), f"{below}{label}")
            for i, (option, label) in enumerate(zip(options, labels, strict=True))
        )
        common = None
        if beside:
            common = Table(at, {k: self.parse(value[k], (*at, k), f"{below}{k}") for k in beside})
        return Choice(at, name, labels, nodes, common)

    def _labels(self, options: Any, at: Path_) -> tuple[Scalar, ...]:
        if all(_is_scalar(option) for option in options) and len(set(options)) == len(options):
            return tuple(options)
        labels: list[str] = []
        for i, option in enumerate(options):
            label = _label(option)
            if label in labels:
                if _is_scalar(option) and any(
                    type(o) is type(option) and o == option for o in options[:i]
                ):
                    raise self._error((*at, "choice", i), f"{option!r} is given twice.")
                label = next(f"{label}#{n}" for n in range(2, 99) if f"{label}#{n}" not in labels)
            labels.append(label)
        return tuple(labels)

    def _derived(self, text: Any, at: Path_) -> Derived:
        try:
            return Derived(at, Expression(str(text)))
        except ExpressionError as error:
            raise self._error((*at, "expr"), str(error)) from error

    def _claim(self, name: str, at: Path_) -> None:
        if name in self._names:
            other = self._tree.mark(self._names[name])
            raise self._error(at, f"a second range named {name!r}; the first is at {other}.")
        self._names[name] = at

    def _error(self, at: Path_, message: str) -> SpecError:
        return SpecError(self._tree.mark(at), dotted(at), message)


def _distribution(
    kind: str, low: float, high: float, step: Any
) -> FloatDistribution | IntDistribution:
    if low > high:
        raise ValueError(f"an empty range: {low} > {high}.")
    if kind.startswith("log_") and low <= 0:
        raise ValueError(f"{kind} wants low > 0, got {low}.")
    if kind in ("int", "log_int"):
        step = 1 if step is None else step
        if not isinstance(step, int) or isinstance(step, bool) or step < 1:
            raise ValueError(f"step wants a whole number >= 1, got {step!r}.")
        if (high - low) % step:
            raise ValueError(f"{high} is not reached from {low} in steps of {step}.")
        return IntDistribution(int(low), int(high), log=kind == "log_int", step=step)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise ValueError(f"step wants a number, got {step!r}.")
    if step is not None and step <= 0:
        raise ValueError(f"step wants a number > 0, got {step!r}.")
    if not math.isfinite(high - low) or (step is not None and (high - low) / step > LARGEST):
        steps = "" if step is None else f" in steps of {step}"
        raise ValueError(f"too wide a range: {low} to {high}{steps}.")
    # As decimals, which is what was written: 0.3 is not three times 0.1 in binary.
    if step is not None and (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ValueError(f"{high} is not reached from {low} in steps of {step}.")
    return FloatDistribution(float(low), float(high), log=kind == "log_uniform", step=step)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _label(option: Any) -> str:
    if isinstance(option, Mapping) and isinstance(option.get("name"), str):
        return str(option["name"])
    return option if isinstance(option, str) else json.dumps(option, separators=(",", ":"))
