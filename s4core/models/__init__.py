"""The models: one file each, with `Config` and `build(config, shape)`. This folder is the registry.

A name with a dot (`my_lab.foo`) is a module outside of this package that keeps the same two names.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from s4core.config import ConfigError, TaskShape, from_mapping, nearest, to_mapping


def model_names() -> tuple[str, ...]:
    """Name every model of this folder, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__)))


def model_config(data: Mapping[str, Any], *, path: str = "model") -> Any:
    """Make the Config that the block `data` describes: `name`, and fields of that model's Config.

    path: where the block stands, for the dotted path of a ConfigError.
    """
    if "name" not in data:
        raise ConfigError(
            f"{path}.name", f"needs the name of a model: {nearest('', model_names())}"
        )
    module = _module(data["name"], f"{path}.name")
    return from_mapping(module.Config, {k: v for k, v in data.items() if k != "name"}, path=path)


def model_mapping(config: Any) -> dict[str, Any]:
    """Turn a model's Config back into the block (with `name`) that `model_config` reads."""
    module = type(config).__module__
    return {"name": module.removeprefix(f"{__name__}."), **to_mapping(config)}


def build(config: Any, shape: TaskShape | Mapping[str, Any]) -> nn.Module:
    """Build the model of `config` (a Config or a block with `name`) for a task of the given shape.

    Raises ConfigError (a ValueError) that says what cannot be. The parameters are drawn on the CPU
    from torch's global generator (seed it first), then moved to torch's default device.
    """
    if not isinstance(shape, TaskShape):
        shape = from_mapping(TaskShape, shape, path="shape")
    if isinstance(config, Mapping):
        config = model_config(config)
    module = sys.modules[type(config).__module__]
    try:
        with torch.device("cpu"):
            model = module.build(config, shape)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("model", str(error)) from error
    assert isinstance(model, nn.Module)
    return model.to(torch.get_default_device())


def _module(name: Any, path: str) -> ModuleType:
    if not isinstance(name, str):
        raise ConfigError(path, f"wants the name of a model, got {name!r}.")
    if "." not in name:
        if name not in model_names():
            raise ConfigError(path, f"no model {name!r}: {nearest(name, model_names())}")
        return importlib.import_module(f"{__name__}.{name}")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(path, f"no module {name!r} to import: {error}.") from error
    if not (hasattr(module, "Config") and hasattr(module, "build")):
        raise ConfigError(path, f"the module {name!r} needs the two names Config and build.")
    return module
