"""The space of a sweep: a tree of values in which a range may stand wherever a value may.

A range is a mapping with one of the keys of `ranges.RANGES`. `choice` may hold whole blocks, each
with ranges of its own that exist only when the block is chosen; keys beside `choice` are common to
all its blocks. A parameter is named by its dotted path, below a chosen block by
`path.block.field`. `{expr: "model.d_model // 4"}` is a value worked out from the others.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from .errors import SpecError
from .expressions import Expression
from .fitting import Misfit, fit_node
from .nodes import (
    QUANTILES,
    Choice,
    Derived,
    Fixed,
    Node,
    Normal,
    Number,
    Scalar,
    Series,
    Table,
)
from .ranges import RangeParser
from .yaml_tree import Path_, YamlTree

Suggest = Callable[[str, BaseDistribution], Any]


@dataclasses.dataclass(frozen=True)
class Point:
    """One configuration: plain data, what was chosen by name, and where each value was written.

    distributions: of what was sampled; normals: the parameters that are sampled by their quantile.
    """

    config: dict[str, Any]
    params: dict[str, Scalar]
    origins: Mapping[Path_, Path_]
    distributions: Mapping[str, BaseDistribution]
    normals: Mapping[str, Normal]


@dataclasses.dataclass(frozen=True)
class Space:
    """The ranges of `data`, `model` and `train`."""

    root: Table

    @classmethod
    def parse(cls, tree: YamlTree) -> Space:
        """Read a tree; raises SpecError for a range that cannot be."""
        root = RangeParser(tree).parse(tree.data, (), "")
        assert isinstance(root, Table)
        return cls(root)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Space:
        """Read plain data that has been checked before (a spec from JSON)."""
        return cls.parse(YamlTree(data, {}, ""))

    def resolve(self, suggest: Suggest) -> Point:
        """Give every range a value: `suggest(name, distribution)` is asked once for each.

        Raises ExpressionError where a derived value cannot be worked out.
        """
        resolver = _Resolver(suggest)
        config = resolver.visit(self.root, ())
        for path, expression in resolver.derived.items():
            _set(config, path, expression(config))
        return Point(
            config, resolver.params, resolver.origins, resolver.distributions, resolver.normals
        )

    def at(self, sampled: Mapping[str, Scalar]) -> Point:
        """Resolve with what was sampled; KeyError for a name that is missing."""
        return self.resolve(lambda name, _: sampled[name])

    def fit(self, config: Mapping[str, Any]) -> dict[str, Scalar]:
        """Find what would have to be sampled to get `config`.

        Raises Misfit when a range does not hold its value. Values that the space fixes are not
        compared; whoever needs that compares `at(fit(config)).config` with `config`.
        """
        found: dict[str, Scalar] = {}
        fit_node(self.root, config, found)
        return found

    def corners(self) -> Iterator[Point]:
        """Every option of every choice and the ends of every number, one at a time.

        An int range of up to 16 values counts as a choice: `d_state: {int: [2, 8]}` has odd values.
        """
        todo: list[dict[str, Any]] = [{}]
        tried: set[tuple[str, str]] = set()
        while todo:
            pinned = todo.pop(0)
            seen, point = self._with_firsts(pinned)
            yield point
            tried |= {(name, repr(pinned.get(name, ends(d)[0]))) for name, d in seen}
            for name, distribution in seen:
                for value in ends(distribution):
                    if (name, repr(value)) not in tried:
                        tried.add((name, repr(value)))
                        todo.append({**pinned, name: value})

    def grid(self, points: int | None) -> Iterator[dict[str, Scalar]]:
        """All combinations: every option, and `points` values of each continuous range.

        Depth first: with the prefix chosen so far, the first parameter beyond it is branched on.
        Raises SpecError for a continuous range when `points` is None.
        """
        stack: list[dict[str, Any]] = [{}]
        while stack:
            prefix = stack.pop()
            seen, _ = self._with_firsts(prefix)
            free = next(((n, d) for n, d in seen if n not in prefix), None)
            if free is None:
                yield prefix
                continue
            values = grid_values(free[0], free[1], points)
            stack.extend({**prefix, free[0]: value} for value in reversed(values))

    def size(self, limit: int = 100_000) -> int | None:
        """Count the combinations; None for a continuous space or one with more than `limit`."""
        try:
            for count, _ in enumerate(self.grid(None), start=1):
                if count > limit:
                    return None
        except SpecError:
            return None
        return count

    def _with_firsts(
        self, pinned: Mapping[str, Any]
    ) -> tuple[list[tuple[str, BaseDistribution]], Point]:
        seen: list[tuple[str, BaseDistribution]] = []

        def suggest(name: str, distribution: BaseDistribution) -> Any:
            seen.append((name, distribution))
            return pinned[name] if name in pinned else ends(distribution)[0]

        return seen, self.resolve(suggest)


def ends(distribution: BaseDistribution) -> list[Any]:
    """List the values of a parameter that are worth a check of their own."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        values = range(distribution.low, distribution.high + 1, distribution.step)
        return (
            list(values) if len(values) <= 16 else [values[0], values[-1], values[len(values) // 2]]
        )
    assert isinstance(distribution, FloatDistribution)
    return [distribution.low, distribution.high]


def grid_values(name: str, distribution: BaseDistribution, points: int | None) -> list[Any]:
    """List what a grid tries for one parameter."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None:
        count = round((high - low) / step) + 1
        if points is None or count <= points:
            return [low + i * step for i in range(count)]
    if low == high:
        return [low]
    if points is None:
        raise SpecError(
            None,
            name,
            "a continuous range; write it as a choice, or take {name: grid, points: 5} as sampler.",
        )
    if distribution.log:
        values = [low * (high / low) ** (i / (points - 1)) for i in range(points)]
    else:
        values = [low + (high - low) * i / (points - 1) for i in range(points)]
    if step is not None:
        values = sorted({low + round((v - low) / step) * step for v in values})
    if isinstance(distribution, IntDistribution):
        return [int(v) for v in values]
    return [min(max(v, low), high) for v in values]


def is_number(distribution: BaseDistribution) -> bool:
    """Whether a parameter is a number rather than a choice."""
    return not isinstance(distribution, CategoricalDistribution)


def random_suggest(rng: random.Random) -> Suggest:
    """Draw each value from its distribution."""

    def suggest(name: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return rng.choice(distribution.choices)
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        if isinstance(distribution, IntDistribution):
            return rng.randrange(distribution.low, distribution.high + 1, distribution.step)
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:
            return min(max(low * (high / low) ** rng.random(), low), high)
        value = rng.uniform(low, high)
        return value if step is None else low + round((value - low) / step) * step

    return suggest


class _Resolver:
    def __init__(self, suggest: Suggest) -> None:
        self.suggest = suggest
        self.params: dict[str, Scalar] = {}
        self.origins: dict[Path_, Path_] = {}
        self.derived: dict[Path_, Expression] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.normals: dict[str, Normal] = {}

    def sample(self, name: str, distribution: BaseDistribution) -> Any:
        self.distributions[name] = distribution
        return self.suggest(name, distribution)

    def visit(self, node: Node, here: Path_) -> Any:
        self.origins[here] = node.at
        match node:
            case Fixed(value=value):
                return list(value) if isinstance(value, list) else value
            case Table(children=children):
                return {key: self.visit(child, (*here, key)) for key, child in children.items()}
            case Series(children=items):
                return [self.visit(child, (*here, i)) for i, child in enumerate(items)]
            case Number(name=name, distribution=distribution):
                self.params[name] = value = self.sample(name, distribution)
                return value
            case Normal(name=name):
                self.normals[name] = node
                value = node.value(self.sample(node.sampled_as, QUANTILES))
                self.params[name] = value
                return value
            case Derived(expression=expression):
                self.derived[here] = expression
                return None
            case Choice():
                label = self.sample(node.name, node.distribution)
                self.params[node.name] = label
                common = self.visit(node.common, here) if node.common else {}
                chosen = self.visit(node.option(label), here)
                return {**common, **chosen} if node.common else chosen


def _set(config: Any, path: Path_, value: Any) -> None:
    for key in path[:-1]:
        config = config[key]
    config[path[-1]] = value


__all__ = [
    "Misfit",
    "Point",
    "Space",
    "Suggest",
    "ends",
    "grid_values",
    "is_number",
    "random_suggest",
]
