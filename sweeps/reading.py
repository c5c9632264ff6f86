"""From a YAML tree to a SweepSpec, with every check that needs no data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from s4core import TrainConfig
from s4core.config import ConfigError, from_mapping, nearest

from . import catalog
from .blocks import BLOCKS, BlockError, complete, is_cost, metric_names
from .errors import SpecError, StudyError
from .expressions import Expression, ExpressionError
from .files import options_of
from .home import valid_name
from .presets import find_preset
from .ranges import is_range
from .space import Point, Space, random_suggest
from .spec import Resources, Search, SweepSpec
from .storage import check_url
from .types import Objective
from .yaml_tree import Path_, YamlTree, dotted

KEYS = (
    "name", "objective", "objectives", *BLOCKS, "search", "resources", "seed", "where", "repeat",
    "baselines", "from", "storage", "include", "preset", "notes", "ran_with",
)  # fmt: skip
SAMPLES = 20  # random points that are checked beside the corners


T = TypeVar("T")


class SpecReader:
    """Reads one tree; every method raises SpecError for what it cannot take."""

    def __init__(self, tree: YamlTree, *, allow_imports: bool) -> None:
        self._tree = tree
        self._data: Mapping[str, Any] = tree.data
        self._allow_imports = allow_imports

    def read(self, *, default_name: str) -> SweepSpec:
        """Read and check everything."""
        for key in self._data:
            if key not in KEYS:
                raise self._error((key,), f"unknown key {key!r}: {nearest(key, KEYS)}")
        for block in BLOCKS:
            if not isinstance(self._data.get(block, {} if block == "train" else None), Mapping):
                what = "wants a block" if block in self._data else f"needs the block {block!r}"
                raise self._error((block,), f"{what} of keys and values.")
        blocks = {block: self._data.get(block, {}) for block in BLOCKS}
        objectives = self._objectives()
        search = self._search()
        where = self._texts("where")
        space = Space.parse(YamlTree(blocks, self._tree.marks, self._tree.text))
        self._check_metrics(objectives, blocks["train"])
        self._check_points(space, self._expressions(where))
        self._check_search(search, space, objectives)
        resources = self._block("resources", Resources)
        if resources.fuse > 1:
            self._check_fuse(space)
        return SweepSpec(
            name=self._name(default_name),
            objectives=objectives,
            data=blocks["data"],
            model=blocks["model"],
            train=blocks["train"],
            search=search,
            resources=resources,
            seed=self._whole("seed", 0, low=0),
            where=where,
            repeat=self._repeat(search),
            baselines=self._baselines(),
            warm_start=self._texts("from"),
            storage=self._storage(),
            ran_with=self._ran_with(),
            text=self._tree.text,
        )

    def _name(self, default: str) -> str:
        name = self._data.get("name", default)
        if not isinstance(name, str):
            raise self._error(("name",), f'wants text, got {name}: write "{name}".')
        if not valid_name(name):
            rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
            raise self._error(("name",), f"{name!r} cannot name a sweep: {rule}.")
        return name

    def _objectives(self) -> tuple[Objective, ...]:
        if "objectives" not in self._data:
            return (self._objective(self._data.get("objective", {}), ("objective",)),)
        listed = self._data["objectives"]
        if "objective" in self._data or not isinstance(listed, list) or len(listed) < 2:
            raise self._error(("objectives",), "wants two or more in a list, not objective too.")
        made = tuple(self._objective(o, ("objectives", i)) for i, o in enumerate(listed))
        if len({objective.metric for objective in made}) < len(made):
            raise self._error(("objectives",), "wants every metric once.")
        return made

    def _objective(self, value: Any, at: Path_) -> Objective:
        if not isinstance(value, Mapping):
            raise self._error(at, "wants a block such as {metric: val/accuracy, mode: max}.")
        made = self._make(Objective, value, at)
        if not made.metric.startswith("val/"):
            raise self._error(
                (*at, "metric"), f"{made.metric!r} is not of the validation split: wants val/..."
            )
        if is_cost(made.metric.removeprefix("val/")) and made.mode == "max":
            what = "is better when smaller" if "mode" in value else "needs mode: min"
            raise self._error((*at, "metric"), f"{made.metric} {what}; write mode: min.")
        return made

    def _check_metrics(self, objectives: tuple[Objective, ...], train: Mapping[str, Any]) -> None:
        """Refuse a metric that no task has, or that trials report only when they are told to."""
        several = "objectives" in self._data
        for i, objective in enumerate(objectives):
            at: Path_ = ("objectives", i, "metric") if several else ("objective", "metric")
            name = objective.metric.removeprefix("val/")
            always, asked = metric_names()
            if name not in (*always, *asked):
                known = [f"val/{metric}" for metric in (*always, *asked)]
                what = nearest(objective.metric, known)
                raise self._error(at, f"no metric {objective.metric!r}: {what}")
            given = train.get("metrics", [])
            if name in asked and not (isinstance(given, list) and name in given):
                raise self._error(at, f"{objective.metric} wants `metrics: [{name}]` in train.")

    def _search(self) -> Search:
        given = self._data.get("search", {})
        if not isinstance(given, Mapping):
            raise self._error(("search",), "wants a block of keys and values.")
        values = dict(given)
        for kind, default in (("sampler", "tpe"), ("pruner", "none")):
            chosen = values.get(kind, default)
            named = {"name": chosen} if isinstance(chosen, str) else chosen
            if not isinstance(named, Mapping) or not isinstance(named.get("name"), str):
                raise self._error(("search", kind), f"wants the name of a {kind}, got {chosen!r}.")
            values[kind] = dict(named)
        return self._make(Search, values, ("search",))

    def _check_search(
        self, search: Search, space: Space, objectives: tuple[Objective, ...]
    ) -> None:
        kinds: tuple[tuple[catalog.Kind, Any], ...]
        kinds = (("samplers", search.sampler), ("pruners", search.pruner))
        for kind, value in kinds:
            at: Path_ = ("search", kind[:-1])
            try:
                module = catalog.load(kind, value["name"], allow_imports=self._allow_imports)
            except catalog.NoSuchName as error:
                raise self._error(at, str(error)) from error
            made = self._make(module.Options, options_of(value), at)
            try:
                module.check(made, space, objectives)
            except ValueError as error:
                raise self._error(at, str(error)) from error
        if search.is_population and search.pruner["name"] != "none":
            why = "pbt moves its worst members itself; use pruner: none."
            raise self._error(("search", "pruner"), why)

    def _repeat(self, search: Search) -> int:
        value = self._data.get("repeat")
        if value is None:
            return 1
        if not isinstance(value, Mapping) or set(value) != {"seeds"}:
            raise self._error(("repeat",), "wants {seeds: N}.")
        seeds = value["seeds"]
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
            raise self._error(("repeat", "seeds"), f"wants a whole number >= 1, got {seeds!r}.")
        if seeds > 1 and search.is_population:
            raise self._error(("repeat",), "pbt changes settings on the way: nothing to repeat.")
        return seeds

    def _baselines(self) -> tuple[str, ...]:
        named = self._texts("baselines")
        if named:
            for i, name in enumerate(named):
                try:
                    find_preset(name)
                except ValueError as error:
                    raise self._error(("baselines", i), str(error)) from error
        return named

    def _ran_with(self) -> Mapping[str, str]:
        value = self._data.get("ran_with", {})
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            raise self._error(("ran_with",), "wants a block of texts, as `best --yaml` writes it.")
        return dict(value)

    def _expressions(self, texts: tuple[str, ...]) -> list[Expression]:
        made = []
        for i, text in enumerate(texts):
            try:
                made.append(Expression(text))
            except ExpressionError as error:
                raise self._error(("where", i), str(error)) from error
        return made

    def _check_points(self, space: Space, where: list[Expression]) -> None:
        is_possible = False
        for point in self._points(space):
            try:
                whole = complete(point.config, allow_imports=self._allow_imports)
            except BlockError as error:
                at = _origin(point, error.path)
                raise SpecError(self._tree.mark(at), dotted(error.path), error.message) from error
            for i, expression in enumerate(where):
                try:
                    holds = bool(expression(whole))
                except ExpressionError as error:
                    raise self._error(("where", i), str(error)) from error
                if not holds:
                    break
            else:
                is_possible = True
        if not is_possible:
            raise self._error(("where",), "no point that was tried makes every expression true.")

    def _check_fuse(self, space: Space) -> None:
        """Refuse `resources.fuse` where no trial's training can be that of several as one."""
        from s4core.train.fused import why_not

        for point in self._points(space):
            train = complete(point.config, allow_imports=self._allow_imports)["train"]
            reason = why_not([from_mapping(TrainConfig, train)])
            if reason is None:
                return
        raise self._error(("resources", "fuse"), f"has no effect: {reason}. Leave it out.")

    def _points(self, space: Space) -> Iterator[Point]:
        try:
            is_searched = False
            for point in space.corners():
                is_searched = bool(point.distributions)
                yield point
            suggest = random_suggest(random.Random(0))
            for _ in range(SAMPLES if is_searched else 0):
                yield space.resolve(suggest)
        except ExpressionError as error:
            raise self._error((), str(error)) from error

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._data.get(key, [])
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
            raise self._error((key,), f"wants a list of texts, got {value!r}.")
        return tuple(listed)

    def _text(self, key: str) -> str | None:
        value = self._data.get(key)
        if value is not None and not isinstance(value, str):
            raise self._error((key,), f"wants text, got {value!r}.")
        return value

    def _storage(self) -> str | None:
        url = self._text("storage")
        if url is not None and not url.startswith("env:"):
            try:
                check_url(url)
            except StudyError as error:
                raise self._error(("storage",), str(error).removeprefix("storage: ")) from error
        return url

    def _whole(self, key: str, default: int, *, low: int) -> int:
        value = self._data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self._error((key,), f"wants a whole number >= {low}, got {value!r}.")
        return value

    def _block(self, key: str, cls: type[Resources]) -> Resources:
        value = self._data.get(key, {})
        if not isinstance(value, Mapping):
            raise self._error((key,), "wants a block of keys and values.")
        return self._make(cls, value, (key,))

    def _make(self, cls: type[T], value: Mapping[str, Any], at: Path_) -> T:
        for key, inner in value.items():
            if is_range(inner):
                raise self._error((*at, key), "a range; only data, model and train are searched.")
        try:
            return from_mapping(cls, value)
        except ConfigError as error:
            parts: Path_ = tuple(error.path.split(".")) if error.path else ()
            if not parts:
                words = error.message.replace(",", " ").split()
                parts = next(((word,) for word in words if word in value), ())
            raise self._error((*at, *parts), error.message) from error

    def _error(self, at: Path_, message: str) -> SpecError:
        return SpecError(self._tree.mark(at), dotted(at), message)


def _origin(point: Point, path: Path_) -> Path_:
    """Where in the YAML the value at `path` of a configuration was written."""
    for end in range(len(path), -1, -1):
        if path[:end] in point.origins:
            return (*point.origins[path[:end]], *path[end:])
    return ()
