"""The published experiments, by name: `lra/listops/s4d-legs`.

One table a family stands beside this file. An entry has the blocks `objective`, `data`, `model` and
`train`, and facts: `published` (what came out), `zero_shot` (what came out on other data, without
more training), `source` (of the number), `settings` (where the settings come from: papers and code
do not always agree). `checked` says how a number was seen: confirmed (in the text), repository (in
the authors' code), memory (not seen again).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

import yaml

from s4core.config import from_mapping, nearest

from ..errors import Mark, SpecError
from ..types import Objective
from ..yaml_tree import YamlTree, parse_yaml


class NoSuchPreset(ValueError):
    """A preset that does not exist; the message names the nearest one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A published result: accuracies are fractions, `std` is over seeds where it was given."""

    metric: str
    value: float
    checked: Literal["confirmed", "repository", "memory"]
    std: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """A published test of the same weights on other data: `data` are the options that differ."""

    data: Mapping[str, Any]
    published: Published


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """One published experiment."""

    name: str
    objective: Objective
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    seed: int = 0
    published: Published | None = None
    zero_shot: ZeroShot | None = None
    source: str = ""
    settings: str = ""


def preset_names() -> tuple[str, ...]:
    """Name every preset, sorted."""
    return tuple(sorted(_tables()))


def find_preset(name: str) -> Preset:
    """Give a preset; raises NoSuchPreset with the nearest name."""
    if name not in _tables():
        raise NoSuchPreset(f"no preset {name!r}: {_near(name)}")
    row = dict(_tables()[name])
    published, zero_shot = row.pop("published", None), row.pop("zero_shot", None)
    return Preset(
        name=name,
        objective=Objective(**row.pop("objective")),
        published=from_mapping(Published, published) if published else None,
        zero_shot=_zero_shot(zero_shot) if zero_shot else None,
        **row,
    )


def _zero_shot(row: Mapping[str, Any]) -> ZeroShot:
    published = {key: value for key, value in row.items() if key != "data"}
    return ZeroShot(data=row["data"], published=from_mapping(Published, published))


def preset_tree(name: Any, mark: Mark | None) -> YamlTree:
    """Give a preset's blocks as a tree that a file is laid on; raises SpecError."""
    try:
        find_preset(str(name))
    except NoSuchPreset as error:
        raise SpecError(mark, "preset", str(error)) from error
    blocks = ("objective", "seed", "data", "model", "train")
    row = {key: value for key, value in _tables()[str(name)].items() if key in blocks}
    return parse_yaml(yaml.safe_dump(row), file=f"preset {name}")


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(resources.files(__package__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            found.update(yaml.safe_load(file.read_text(encoding="utf-8")))
    return found


def _near(name: str) -> str:
    """Two hundred names are too many to list: those of the same task, else the tasks."""
    folder = name.rpartition("/")[0]
    same = [n for n in preset_names() if folder and n.startswith(f"{folder}/")]
    if same:
        return nearest(name, same)
    tasks = sorted({n.rpartition("/")[0] for n in preset_names()})
    near = nearest(name, preset_names()).partition(" Did you mean")
    return f"presets there are of {', '.join(tasks)}.{''.join(near[1:])}"
