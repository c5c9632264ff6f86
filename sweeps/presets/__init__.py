"""The published experiments, by name: `lra/listops/s4d-legs`.

The tables beside this file hold one family each; docs/presets.md tells how a row is read.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import yaml

from s4core.config import nearest

from ..errors import Mark, SpecError
from ..yaml_tree import YamlTree, parse_yaml


class NoSuchPreset(ValueError):
    """A preset that does not exist; the message names the nearest one."""


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(resources.files(__package__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            found.update(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    return found


def preset_names() -> tuple[str, ...]:
    """Name every preset, sorted."""
    return tuple(sorted(_tables()))


def find_preset(name: str) -> dict[str, Any]:
    """Give a preset: the blocks `data`, `model` and `train`, and the facts about it."""
    if name not in _tables():
        raise NoSuchPreset(f"no preset {name!r}: {nearest(name, preset_names())}")
    return _tables()[name]


def preset_tree(name: Any, mark: Mark | None) -> YamlTree:
    """Give a preset's blocks as a tree that a file is laid on; raises SpecError."""
    try:
        preset = find_preset(str(name))
    except NoSuchPreset as error:
        raise SpecError(mark, "preset", str(error)) from error
    blocks = {key: preset[key] for key in ("objective", "data", "model", "train") if key in preset}
    return parse_yaml(yaml.safe_dump(blocks), file=f"preset {name}")
