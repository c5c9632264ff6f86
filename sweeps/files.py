"""Files that appear whole (written under another name, flushed, then moved), and plain data."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a small file so that any reader, at any time, sees all of the old or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path) -> Any | None:
    """Read what `write_json` wrote; None if there is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return json.loads(text)


def options_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in a named block beside its name."""
    return {key: value for key, value in block.items() if key != "name"}


def flatten(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves of a tree of mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            leaves |= flatten(value, here)
        else:
            leaves[here] = value
    return leaves


def plain(value: Any) -> Any:
    """Turn (frozen) dataclasses, tuples and mappings into JSON-ready data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value
