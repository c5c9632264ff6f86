"""The three blocks of a trial - data, model, train - checked by building their configs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import data_prep
import s4core
from s4core.config import ConfigError

from . import catalog
from .files import options_of, plain
from .yaml_tree import Path_

BLOCKS = ("data", "model", "train")


class BlockError(ValueError):
    """A block that cannot be: `path` leads to the value that is wrong."""

    def __init__(self, path: Path_, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def complete(config: Mapping[str, Any], *, allow_imports: bool = True) -> dict[str, Any]:
    """Check the blocks of a configuration and fill in every default.

    Raises BlockError, as the data set's options, the model's Config or TrainConfig say it.
    """
    for block in BLOCKS:
        found = config[block]
        if not isinstance(found, Mapping):
            hint = f"; write {{name: {found}}}" if isinstance(found, str) else ""
            raise BlockError((block,), f"wants a block of keys and values, got {found!r}{hint}.")
    return {
        "data": _data(config["data"], allow_imports),
        "model": _model(config["model"], allow_imports),
        "train": _train(config["train"]),
    }


def metric_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name what trials report of a split: always (each for its kind of task), and when asked to."""
    from s4core.train.metrics import METRICS, reported

    task = {"d_input": 1, "d_output": 2, "length": 1}
    kinds = get_args(get_type_hints(s4core.TaskShape)["target"])
    shapes = [s4core.from_mapping(s4core.TaskShape, {**task, "target": kind}) for kind in kinds]
    always = dict.fromkeys(name for shape in shapes for name in reported(shape))
    return tuple(always), METRICS


def is_cost(metric: str) -> bool:
    """Whether a metric of `metric_names` is better when it is smaller."""
    from s4core.train.metrics import COSTS

    return metric in COSTS


def _name(block: str, config: Mapping[str, Any], allow_imports: bool) -> str:
    name = config.get("name")
    if not isinstance(name, str):
        raise BlockError((block,), f"needs the key 'name': the name of a {block} block.")
    try:
        catalog.check_outside(name, allow_imports=allow_imports)
    except catalog.NoSuchName as error:
        raise BlockError((block, "name"), str(error)) from error
    return name


def _data(config: Mapping[str, Any], allow_imports: bool) -> dict[str, Any]:
    name = _name("data", config, allow_imports)
    options = options_of(config)
    try:
        checked = data_prep.dataset_options(name, options)
    except data_prep.DataError as error:
        raise _blame("data", error.key or "", str(error), options) from error
    raw = {"raw": config["raw"]} if "raw" in config else {}  # where the files are, no option
    return {"name": name, **plain(checked), **raw}


def _model(config: Mapping[str, Any], allow_imports: bool) -> dict[str, Any]:
    name = _name("model", config, allow_imports)
    try:
        checked = s4core.model_config(config)
    except ConfigError as error:
        raise _blame("model", error.path.removeprefix("model"), error.message, config) from error
    return {"name": name, **s4core.to_mapping(checked)}


def _train(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        checked = s4core.from_mapping(s4core.TrainConfig, config, path="train")
    except ConfigError as error:
        raise _blame("train", error.path.removeprefix("train"), error.message, config) from error
    return s4core.to_mapping(checked)


def _blame(block: str, path: str, message: str, config: Mapping[str, Any]) -> BlockError:
    """Find the value that a message is about: its path, else the first field that it names."""
    parts: Path_ = tuple(int(p) if p.isdigit() else p for p in path.split(".") if p)
    if not parts:
        words = re.findall(r"[A-Za-z_]\w*", message)
        parts = next(((word,) for word in words if word in config), ())
    return BlockError((block, *parts), message)
