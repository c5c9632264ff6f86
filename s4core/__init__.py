"""S4 models and their training: tensors in, tensors out; knows no sweep, file format or cluster."""

from __future__ import annotations

from s4core.config import ConfigError, TaskShape, config, from_mapping, to_mapping
from s4core.models import build, model_config, model_mapping, model_names

__all__ = [
    "ConfigError",
    "TaskShape",
    "build",
    "config",
    "from_mapping",
    "model_config",
    "model_mapping",
    "model_names",
    "to_mapping",
]
