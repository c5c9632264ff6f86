"""Expressions over a configuration: `model.d_model % train.batch_size == 0`.

Parsed by Python's `ast` and walked node by node: numbers, text, comparisons, arithmetic, `and`,
`or`, `not`, `in`, `x if c else y` and the functions of `FUNCTIONS`. No calls of anything else, no
attributes of objects, no subscripts: a name is a dotted path into the configuration.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from s4core.config import nearest

NEAREST = 5  # names told where there is none like the one that was meant

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": round, "int": int, "float": float,
    "sqrt": math.sqrt, "log2": math.log2, "log10": math.log10, "ceil": math.ceil,
    "floor": math.floor,
}  # fmt: skip

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip


class ExpressionError(ValueError):
    """An expression that cannot be read or worked out."""


class Expression:
    """A checked expression; calling it with a configuration gives its value.

    Raises ExpressionError for anything but the grammar above, and when called for a name that the
    configuration lacks or for arithmetic that fails (a division by zero, a number plus a text).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > 1000:
            raise ExpressionError(f"an expression of {len(text)} characters; at most 1000.")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise ExpressionError(f"not an expression: {text!r}.") from error
        _check(self._tree)

    def __call__(self, config: Mapping[str, Any]) -> Any:
        """Work the expression out over `config` (nested mappings)."""
        try:
            return _evaluate(self._tree, config)
        except ExpressionError:
            raise
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ExpressionError(f"{self.text!r} cannot be worked out: {error}.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return
        case ast.Name() | ast.Attribute():
            _dotted(node)
            return
        case ast.BinOp(op=op) if type(op) in _BINARY:
            pass
        case ast.UnaryOp(op=unary) if type(unary) in _UNARY:
            pass
        case ast.Compare(ops=ops) if all(type(o) in _COMPARE for o in ops):
            pass
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            if name not in FUNCTIONS:
                raise ExpressionError(f"no function {name!r}: {nearest(name, FUNCTIONS)}")
            for argument in node.args:
                _check(argument)
            return
        case ast.BoolOp() | ast.IfExp() | ast.List() | ast.Tuple():
            pass
        case _:
            raise ExpressionError(f"{ast.unparse(node)!r} is not allowed in an expression.")
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child)


def _dotted(node: ast.expr) -> tuple[str, ...]:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=value, attr=name):
            return (*_dotted(value), name)
    raise ExpressionError(f"{ast.unparse(node)!r} is not a dotted path.")


def _evaluate(node: ast.expr, config: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _look_up(_dotted(node), config)
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_evaluate(left, config), _evaluate(right, config))
        case ast.UnaryOp(op=unary, operand=operand):
            return _UNARY[type(unary)](_evaluate(operand, config))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_evaluate(v, config) for v in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_evaluate(v, config) for v in values)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluate(body if _evaluate(test, config) else orelse, config)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate(item, config) for item in items]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*(_evaluate(a, config) for a in arguments))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            values = [_evaluate(v, config) for v in (left, *rights)]
            pairs = zip(ops, values[:-1], values[1:], strict=True)
            return all(_COMPARE[type(o)](a, b) for o, a, b in pairs)
    raise AssertionError(f"unchecked node {node!r}")


def _look_up(path: tuple[str, ...], config: Mapping[str, Any]) -> Any:
    here: Any = config
    for i, name in enumerate(path):
        if not isinstance(here, Mapping) or name not in here:
            said = ".".join(path[: i + 1])
            if not isinstance(here, Mapping):
                raise ExpressionError(f"no value {said!r}: {'.'.join(path[:i])} is {here!r}.")
            names = [str(key) for key in here]
            near = difflib.get_close_matches(name, names, n=NEAREST, cutoff=0.4)
            raise ExpressionError(f"no value {said!r}: {nearest(name, near or names)}")
        here = here[name]
    return here
