"""One tree out of several files: `include:`, `preset:`, and named environment variables.

What a file says itself wins over what it includes. Blocks merge key by key, unless one of them is
a range or their names differ (`name: s4d` over `name: lssl`): then the block is replaced whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import SpecError
from .presets import preset_tree
from .ranges import is_range
from .yaml_tree import Path_, YamlTree, dotted, parse_value, read_yaml


def read_tree(path: Path, *, _within: tuple[Path, ...] = ()) -> YamlTree:
    """Read a YAML file with everything that it includes; raises SpecError."""
    tree = read_yaml(path)
    if not isinstance(tree.data, dict):
        raise SpecError(tree.mark(()), "", f"wants keys and values, got {tree.data!r}.")
    data = _absolute_raw(fill_environment(tree.data, tree, ()), path.parent)
    own = tree = YamlTree(data, tree.marks, tree.text)
    for base in reversed(_bases(own, path, (*_within, path.resolve()))):
        tree = merge(base, tree)
    data = {k: v for k, v in tree.data.items() if k not in ("include", "preset")}
    return YamlTree(data, tree.marks, own.text)


def _bases(tree: YamlTree, path: Path, within: tuple[Path, ...]) -> list[YamlTree]:
    bases: list[YamlTree] = []
    if "preset" in tree.data:
        bases.append(preset_tree(tree.data["preset"], tree.mark(("preset",))))
    include = tree.data.get("include", [])
    if not isinstance(include, str | list):
        what = f"wants the path of a file, or a list of them, got {include!r}."
        raise SpecError(tree.mark(("include",)), "include", what)
    for i, name in enumerate([include] if isinstance(include, str) else include):
        at: Path_ = ("include",) if isinstance(include, str) else ("include", i)
        if not isinstance(name, str):
            raise SpecError(tree.mark(at), dotted(at), f"wants the path of a file, got {name!r}.")
        target = path.parent / name
        if target.resolve() in within:
            raise SpecError(tree.mark(at), dotted(at), f"{name} includes itself.")
        if not target.is_file():
            raise SpecError(tree.mark(at), dotted(at), f"{target}: no such file.")
        bases.append(read_tree(target, _within=within))
    return bases


def merge(base: YamlTree, over: YamlTree) -> YamlTree:
    """Lay `over` on `base`."""
    marks = dict(base.marks)

    def lay(low: Any, high: Any, path: Path_) -> Any:
        if path and not _mergeable(low, high):
            for known in [p for p in marks if p[: len(path)] == path]:
                del marks[known]
            marks.update({p: m for p, m in over.marks.items() if p[: len(path)] == path})
            return high
        if path in over.marks:
            marks[path] = over.marks[path]
        result = dict(low)
        for key, value in high.items():
            here = (*path, key)
            if key in low:
                result[key] = lay(low[key], value, here)
            else:
                result[key] = value
                marks.update({p: m for p, m in over.marks.items() if p[: len(here)] == here})
        return result

    return YamlTree(lay(base.data, over.data, ()), marks, over.text)


def _absolute_raw(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read `data.raw` as a path from the file that says it: workers run in other folders."""

    def visit(value: Any, is_raw: bool = False) -> Any:
        if isinstance(value, list):
            return [visit(item, is_raw) for item in value]
        if isinstance(value, dict):
            inside = ("raw", "choice") if is_raw else ("raw",)
            return {key: visit(item, key in inside) for key, item in value.items()}
        if not is_raw or not isinstance(value, str) or "://" in value:
            return value
        return str((folder / os.path.expanduser(value)).absolute())

    return {**data, "data": visit(data["data"])} if "data" in data else data


def _mergeable(low: Any, high: Any) -> bool:
    if not (isinstance(low, Mapping) and isinstance(high, Mapping)):
        return False
    if is_range(low) or is_range(high):
        return False
    return "name" not in low or "name" not in high or low["name"] == high["name"]


def fill_environment(value: Any, tree: YamlTree, path: Path_) -> Any:
    """Replace each `{env: NAME}` or `{env: NAME, default: x}` by the variable, read as YAML.

    `storage` keeps the name, so that a password in a URL is never written down.
    """
    if isinstance(value, list):
        return [fill_environment(v, tree, (*path, i)) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "env" not in value or not set(value) <= {"env", "default"}:
        return {k: fill_environment(v, tree, (*path, k)) for k, v in value.items()}
    name, mark = value["env"], tree.mark(path)
    if not isinstance(name, str):
        raise SpecError(mark, dotted(path), f"env wants the name of a variable, got {name!r}.")
    if path == ("storage",):
        return f"env:{name}"
    if name in os.environ:
        return parse_value(os.environ[name], file=f"${name}")
    if "default" in value:
        return value["default"]
    raise SpecError(mark, dotted(path), f"the environment variable {name} is not set.")
