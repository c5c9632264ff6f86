"""The JSON schema of a sweep's YAML, for editors that complete and underline while one types.

It is made from the same dataclasses that check a file, so that it cannot lag behind them. It says
less than `s4sweep check` does: relations between values (warmup < epochs) have no place in it.
"""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import TypeAdapter

import data_prep
import s4core

from . import catalog
from .presets import preset_names
from .ranges import RANGES
from .spec import Resources, Search
from .types import Objective

Schema = dict[str, Any]

_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_ANY_RANGE = {"$ref": "#/$defs/range"}


def sweep_schema() -> Schema:
    """Give the schema (JSON Schema 2020-12) of a sweep's YAML as plain data."""
    defs: Schema = {"range": _range()}
    properties: Schema = {
        "name": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"},
        "objective": _plain(Objective),
        "objectives": {"type": "array", "items": _plain(Objective), "minItems": 2},
        "data": _block("data", defs, {n: _options(n) for n in data_prep.dataset_names()}),
        "model": _block("model", defs, {n: _config(n) for n in s4core.model_names()}),
        "train": _searchable(_plain(s4core.TrainConfig)),
        "search": _search(),
        "resources": _plain(Resources),
        "seed": {"type": "integer", "minimum": 0},
        "where": _texts(),
        "repeat": _closed({"seeds": {"type": "integer", "minimum": 1}}, required=["seeds"]),
        "baselines": _texts(list(preset_names())),
        "from": _texts(),
        "storage": {"anyOf": [{"type": "string"}, _closed({"env": {"type": "string"}})]},
        "include": _texts(),
        "preset": {"enum": list(preset_names())},
        "notes": {"type": "string"},
        "ran_with": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A sweep of S4 models",
        **_closed(properties),
        "anyOf": [
            {"required": ["data", "model"]},
            {"required": ["preset"]},
            {"required": ["include"]},
        ],
        "$defs": defs,
    }


def _range() -> Schema:
    forms: list[Schema] = []
    for kind in RANGES:
        step: Schema = {"step": {"type": "number"}} if kind in ("int", "uniform") else {}
        if kind == "choice":
            forms.append(
                {"type": "object", "properties": {kind: {"type": "array", "minItems": 1}},
                 "required": [kind]}
            )  # fmt: skip
        else:
            forms.append(_closed({kind: _PAIR, **step}, required=[kind]))
    forms.append(_closed({"expr": {"type": "string"}}, required=["expr"]))
    forms.append(_closed({"env": {"type": "string"}, "default": {}}, required=["env"]))
    return {"description": "A range, or a derived value.", "anyOf": forms}


def _plain(cls: type[Any]) -> Schema:
    """The schema of a dataclass, without its definitions' indirection."""
    schema = TypeAdapter(cls).json_schema()
    assert "$defs" not in schema, f"{cls} has nested dataclasses"
    return {**schema, "additionalProperties": False}


def _options(name: str) -> Schema:
    module = importlib.import_module(f"data_prep.datasets.{name}")
    schema = _plain(module.Options) if hasattr(module, "Options") else _closed({})
    raw = {"type": "string", "description": "folder of the raw files, from that of the YAML"}
    return {**schema, "properties": {**schema.get("properties", {}), "raw": raw}}


def _config(name: str) -> Schema:
    return _plain(importlib.import_module(f"s4core.models.{name}").Config)


def _searchable(schema: Schema) -> Schema:
    """Let a range stand wherever a value may."""
    fields = {k: {"anyOf": [v, _ANY_RANGE]} for k, v in schema.get("properties", {}).items()}
    return {**schema, "properties": fields}


def _block(block: str, defs: Schema, named: dict[str, Schema]) -> Schema:
    """A block that is known by its name, or a choice of such blocks with common keys."""
    for name, schema in named.items():
        searchable = _searchable(schema)
        properties = {"name": {"const": name}, **searchable["properties"]}
        defs[f"{block}.{name}"] = {**searchable, "properties": properties, "required": ["name"]}
    references = [{"$ref": f"#/$defs/{block}.{name}"} for name in named]
    outside = {
        "type": "object",
        "properties": {"name": {"type": "string", "pattern": r"\."}},
        "required": ["name"],
    }
    common = {k for schema in named.values() for k in schema.get("properties", {})}
    choice = _closed(
        {"choice": {"type": "array", "items": {"anyOf": [*references, outside]}, "minItems": 1},
         **{k: {} for k in sorted(common)}},
        required=["choice"],
    )  # fmt: skip
    searched_name = _closed(
        {"name": _ANY_RANGE, **{k: {} for k in sorted(common)}}, required=["name"]
    )
    # Without a name, on top of a preset's or an included file's block.
    laid_on = _closed({k: {} for k in sorted(common)})
    defs[block] = {"anyOf": [*references, outside, choice, searched_name, laid_on]}
    return {"$ref": f"#/$defs/{block}"}


def _search() -> Schema:
    schema = _plain(Search)
    properties = dict(schema["properties"])
    kinds: tuple[catalog.Kind, ...] = ("samplers", "pruners")
    for kind in kinds:
        named = []
        for name in catalog.names(kind):
            options = _plain(catalog.load(kind, name).Options)
            fields = {"name": {"const": name}, **options.get("properties", {})}
            named.append(_closed(fields, required=["name"]))
        properties[kind[:-1]] = {"anyOf": [{"enum": list(catalog.names(kind))}, *named]}
    return _closed(properties)


def _closed(properties: Schema, required: list[str] | None = None) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _texts(choices: list[str] | None = None) -> Schema:
    one: Schema = {"enum": choices} if choices else {"type": "string"}
    return {"anyOf": [one, {"type": "array", "items": one}]}
