"""Every mistake of a YAML at once, for whoever is about to submit it.

The reader stops at the first mistake. Here what it blames is taken out of the tree and the rest is
read again, until nothing is left to blame. A complaint about what is around a place that was taken
out (a range without its ends, say, or the other field of a rule) is of our own making: the place
goes too, without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep import dataset_names
from s4core import model_names

from .errors import SpecError
from .merging import read_tree
from .reading import SpecReader
from .yaml_tree import Path_, YamlTree, dotted

LIMIT = 100


def find_mistakes(path: Path | str, *, allow_imports: bool = False) -> list[SpecError]:
    """The mistakes of a sweep's file in the order of their lines; [] if `load_spec` takes it.

    A file that is no YAML, or includes one that is none, has one mistake: what follows a broken
    line cannot be trusted.
    """
    path = Path(path)
    try:
        tree = read_tree(path)
    except SpecError as error:
        return [error]
    found: list[SpecError] = []
    removed: list[Path_] = []
    while len(found) < LIMIT:
        try:
            SpecReader(tree, allow_imports=allow_imports).read(default_name=path.stem)
            break
        except SpecError as error:
            at = _place(tree, error)
            is_ours = (
                at is None
                or any(gone[: len(at)] == at for gone in removed)
                or any(_is_same_rule(error, other) for other in found)
            )
            if not (is_ours and removed):
                found.append(error)
            if at is None:
                break
            removed.append(at)
            tree = _named(tree, at) if at[-1] == "name" and len(at) > 1 else _without(tree, at)
    return sorted(found, key=lambda e: (e.mark.line, e.mark.column) if e.mark else (0, 0))


def _place(tree: YamlTree, error: SpecError) -> Path_ | None:
    """The path in the tree that an error blames: its own path, else what its mark points at."""
    for path in tree.marks:
        if path and dotted(path) == error.path and _is_there(tree.data, path):
            return path
    last = error.path.split(".")[-1]
    marked = [p for p, m in tree.marks.items() if p and m == error.mark and _is_there(tree.data, p)]
    named = [p for p in marked if str(p[-1]) == last]
    return min(named or marked, key=len, default=None)


def _is_same_rule(error: SpecError, other: SpecError) -> bool:
    """Whether a rule of two fields blames the second one because the first was taken out."""
    rules = [e.message.split(", got ")[0] for e in (error, other)]
    blocks = [e.path.rpartition(".")[0] for e in (error, other)]
    return rules[0] == rules[1] and blocks[0] == blocks[1] and error.path != other.path


def _is_there(data: Any, path: Path_) -> bool:
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _named(tree: YamlTree, at: Path_) -> YamlTree:
    """The tree with a block that has a wrong name replaced by one that can be."""
    name = dataset_names()[0] if at[0] == "data" else model_names()[0]

    def copy(data: Any, path: Path_) -> Any:
        if path == at[:-1]:
            return {"name": name}
        if isinstance(data, dict):
            return {k: copy(v, (*path, k)) for k, v in data.items()}
        if isinstance(data, list):
            return [copy(v, (*path, i)) for i, v in enumerate(data)]
        return data

    return YamlTree(copy(tree.data, ()), tree.marks, tree.text)


def _without(tree: YamlTree, gone: Path_) -> YamlTree:
    """The tree without the node at `gone`; later items of a list move up by one."""

    def copy(data: Any, path: Path_) -> Any:
        if isinstance(data, dict):
            return {k: copy(v, (*path, k)) for k, v in data.items() if (*path, k) != gone}
        if isinstance(data, list):
            return [copy(v, (*path, i)) for i, v in enumerate(data) if (*path, i) != gone]
        return data

    depth = len(gone) - 1
    marks = {}
    for path, mark in tree.marks.items():
        if path[: len(gone)] == gone:
            continue
        if len(path) > depth and path[:depth] == gone[:depth]:
            key, last = path[depth], gone[depth]
            if isinstance(key, int) and isinstance(last, int) and key > last:
                path = (*path[:depth], key - 1, *path[depth + 1 :])
        marks[path] = mark
    return YamlTree(copy(tree.data, ()), marks, tree.text)
