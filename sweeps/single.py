"""One configuration from the command line: `preset=lra/listops/s4d-legs model.n_layers=3`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .blocks import BLOCKS
from .errors import Mark, SpecError, StudyError
from .home import sweep_names
from .merging import merge, read_tree
from .presets import preset_tree
from .reading import SpecReader
from .seeding import fix
from .space import Space
from .spec import SweepSpec
from .yaml_tree import Path_, YamlTree, dotted, parse_value

ARGUMENT = "argument"
SEARCHING = ("search", "where", "repeat", "baselines", "from")  # has no meaning for a single run


def read_words(words: Sequence[str], home: Path, *, allow_imports: bool = False) -> SweepSpec:
    """Make the spec of a single run out of words, each `key=value`, or one FILE to start from.

    `preset=NAME` starts from a preset; `a.b=value` sets a value, read as YAML (and 1e-4 as a
    number), or chooses one where the file has a range, by the name of the parameter. Later words
    win. The run is named after the preset, the file or the model, with a number if there is one of
    that name in `home`. Raises SpecError, which blames the argument.
    """
    files = [w for w in words if "=" not in w]
    if len(files) > 1:
        raise SpecError(None, "", f"{files[1]}: wants key=value after the one file {files[0]}.")
    tree = read_tree(Path(files[0])) if files else YamlTree({}, {}, "")
    stem = Path(files[0]).stem if files else ""
    settings = [(i, w) for i, w in enumerate(words, start=1) if "=" in w]
    for i, word in settings:
        key, _, value = word.partition("=")
        if key == "preset":
            tree = merge(preset_tree(value, Mark(ARGUMENT, i, 1)), tree)
            stem = stem or value
    names = _parameters(tree)
    fixed = {}
    for i, word in settings:
        key, _, value = word.partition("=")
        if key in names:
            fixed[key] = read_value(value)
        elif key != "preset":
            tree = _set(tree, tuple(key.split(".")), value, Mark(ARGUMENT, i, 1))
    model = tree.data.get("model", {})
    stem = stem or str(model.get("name", "run") if isinstance(model, dict) else "run")
    data = {k: v for k, v in tree.data.items() if k not in SEARCHING}
    data |= _resolve(data, tree, fixed)
    data["name"] = data.get("name") or _free_name(stem, home)
    data["search"] = {"sampler": "grid", "trials": 1}
    whole = YamlTree(data, tree.marks, yaml.safe_dump(data, sort_keys=False))
    return SpecReader(whole, allow_imports=allow_imports).read(default_name="run")


def _space(data: Mapping[str, Any], tree: YamlTree) -> Space:
    blocks = {block: data.get(block, {}) for block in BLOCKS}
    return Space.parse(YamlTree(blocks, tree.marks, tree.text))


def _parameters(tree: YamlTree) -> set[str]:
    return {name for point in _space(tree.data, tree).corners() for name in point.params}


def _resolve(data: Mapping[str, Any], tree: YamlTree, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Give the blocks with a value in place of every range."""
    space = _space(data, tree)
    try:
        sampled = fix(space, fixed)
        return space.at(sampled).config
    except StudyError as error:
        raise SpecError(None, "", str(error)) from error
    except KeyError as error:
        name = error.args[0]
        raise SpecError(
            None, str(name), f"is a range, and a single run has none: give {name}=VALUE."
        ) from error


def read_value(text: str) -> Any:
    """Read a value as YAML does, except that 1e-4 is the number that it looks like."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        return float(text)
    try:
        return parse_value(text, file=ARGUMENT)
    except SpecError:
        return text


def read_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read words `key=value` (parameters of an enqueued trial); raises SpecError."""
    found = {}
    for i, word in enumerate(words, start=1):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise SpecError(Mark(ARGUMENT, i, 1), "", f"wants key=value, got {word!r}.")
        found[key] = read_value(value)
    return found


def _set(tree: YamlTree, path: Path_, text: str, mark: Mark) -> YamlTree:
    """Put a value at a dotted path, whatever was there."""
    here = tree.data
    data: Any = dict(here)
    top = data
    for i, key in enumerate(path[:-1]):
        inner = data.get(key, {})
        if not isinstance(inner, dict):
            raise SpecError(mark, dotted(path), f"{dotted(path[: i + 1])} is no block.")
        data[key] = dict(inner)
        data = data[key]
    data[path[-1]] = read_value(text)
    marks = {p: m for p, m in tree.marks.items() if p[: len(path)] != path}
    return YamlTree(top, {**marks, path: mark}, tree.text)


def _free_name(stem: str, home: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "run"
    taken = set(sweep_names(home))
    numbered = (f"{name}-{n}" for n in range(2, 100_000))
    return name if name not in taken else next(n for n in numbered if n not in taken)
