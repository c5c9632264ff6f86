"""Safe YAML as plain data, with the place of every node, so that errors can name file and line.

Stricter than the format: duplicate keys, keys that are not text, tabs, tags and more than 100,000
nodes (a bomb of aliases) are refused. A date is text, as it is in YAML 1.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .errors import Mark, SpecError

Path_ = tuple[str | int, ...]

MAX_NODES = 100_000
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclasses.dataclass(frozen=True)
class YamlTree:
    """Plain data (dict, list, scalars), and the place of each node by its path."""

    data: Any
    marks: Mapping[Path_, Mark]
    text: str

    def mark(self, path: Path_) -> Mark | None:
        """Give the place of `path`, or of the nearest node around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return None


def dotted(path: Path_) -> str:
    """Write a path the way users do: `train.betas.1`."""
    return ".".join(str(p) for p in path)


def read_yaml(path: Path) -> YamlTree:
    """Read a file; raises SpecError (one line) for one that is missing or not the YAML we take."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(None, "", f"{path}: no such file.") from None
    except IsADirectoryError:
        raise SpecError(None, "", f"{path}: is a folder, not a YAML file.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8 text."
        raise SpecError(Mark(str(path), line, 1), "", what) from error
    except OSError as error:
        raise SpecError(None, "", f"{path}: cannot be read: {error}.") from error
    return parse_yaml(text, file=str(path))


def parse_yaml(text: str, *, file: str) -> YamlTree:
    """Parse one YAML document; raises SpecError with the line of the fault."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        what = f"the character U+{ord(text[error.position]):04X} cannot stand in YAML."
        raise SpecError(Mark(file, line, 1), "", what) from error
    try:
        node = loader.get_single_node()
        builder = _Builder(loader, file)
        data = builder.build(node, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from error
    except yaml.YAMLError as error:
        raise SpecError(Mark(file, 1, 1), "", f"not YAML: {error}.") from error
    except RecursionError:
        raise SpecError(Mark(file, 1, 1), "", "nested too deeply to be read.") from None
    finally:
        loader.dispose()
    builder.marks.setdefault((), Mark(file, 1, 1))
    return YamlTree(data, builder.marks, text)


def parse_value(text: str, *, file: str) -> Any:
    """Parse a value that stands alone; None where there is none. Raises SpecError."""
    return parse_yaml(text, file=file).data if text.strip() else None


class _Builder:
    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self.loader = loader
        self.file = file
        self.marks: dict[Path_, Mark] = {}
        self.count = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise SpecError(self.mark(node), dotted(path), f"more than {MAX_NODES:,} values.")
        if any(node is ancestor for ancestor in self.open):
            raise SpecError(self.mark(node), dotted(path), "an alias that contains itself.")
        self.marks.setdefault(path, self.mark(node))
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
            raise SpecError(self.mark(node), dotted(path), "a tag (!...); only plain values.")
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
            return self.scalar(node, path)
        finally:
            self.open.pop()

    def scalar(self, node: yaml.Node, path: Path_) -> Any:
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
        if node.tag == "tag:yaml.org,2002:binary":
            raise SpecError(self.mark(node), dotted(path), "a tag (!...); only plain values.")
        try:
            return self.loader.construct_object(node)
        except ValueError as error:  # 0x_, say, looks like a number
            what = f"{node.value!r} is no number; text like this wants quotes."
            raise SpecError(self.mark(node), dotted(path), what) from error

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        own = {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
        seen: dict[str, yaml.Node] = {}
        result: dict[str, Any] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key: Any = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or not isinstance(key, str):
                raise SpecError(self.mark(key_node), dotted(path), "a key must be text.")
            if key in seen:
                first = seen[key].start_mark.line + 1
                name = dotted((*path, key))
                raise SpecError(
                    self.mark(key_node), name, f"key given twice, first in line {first}."
                )
            seen[key] = key_node
        self.loader.flatten_mapping(node)  # `<<: *base`, the keys of the base come first
        for key_node, value_node in node.value:
            key = key_node.value
            here: Path_ = (*path, key)
            if key in own and seen.get(key) is not key_node:
                continue  # a key of the base that the mapping itself gives
            self.marks[here] = self.mark(key_node)
            result[key] = self.build(value_node, here)
        return result

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> SpecError:
    place = error.problem_mark or error.context_mark
    line = place.line + 1 if place else 1
    column = place.column + 1 if place else 1
    lines = text.splitlines()
    source = lines[line - 1] if line <= len(lines) else ""
    mark = Mark(file, line, column)
    if "\t" in source[: len(source) - len(source.lstrip())] or "'\\t'" in str(error.problem):
        return SpecError(mark, "", "a tab; YAML wants spaces for indentation.")
    if "could not determine a constructor" in str(error.problem):
        return SpecError(mark, "", "a tag (!...); only plain values are allowed.")
    begun = error.context_mark
    context = f" {error.context} of line {begun.line + 1}," if begun and error.context else ""
    return SpecError(mark, "", f"not YAML:{context} {error.problem or error.context}.")
