"""S4 models and their training: tensors in, tensors out; knows no sweep, file format or cluster.

The names below are imported at their first use, so that a program which only needs the types of
`s4core.config` or `s4core.train.report` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from s4core.config import ConfigError, TaskShape, from_mapping, to_mapping

if TYPE_CHECKING:
    from s4core.models import build, model_config, model_mapping, model_names
    from s4core.train.config import TrainConfig
    from s4core.train.errors import CheckpointError, Diverged
    from s4core.train.fit import evaluate, fit, load_model
    from s4core.train.report import EpochReport

_HOMES = {
    "s4core.models": ("build", "model_config", "model_mapping", "model_names"),
    "s4core.train.config": ("TrainConfig",),
    "s4core.train.errors": ("CheckpointError", "Diverged"),
    "s4core.train.fit": ("evaluate", "fit", "load_model"),
    "s4core.train.report": ("EpochReport",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Diverged",
    "EpochReport",
    "TaskShape",
    "TrainConfig",
    "build",
    "evaluate",
    "fit",
    "from_mapping",
    "load_model",
    "model_config",
    "model_mapping",
    "model_names",
    "to_mapping",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
