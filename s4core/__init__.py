"""S4 models and their training: tensors in, tensors out; knows no sweep, file format or cluster."""

from __future__ import annotations

from s4core.config import ConfigError, TaskShape, config, from_mapping, to_mapping
from s4core.models import build, model_config, model_mapping, model_names
from s4core.train.config import TrainConfig
from s4core.train.data import Batch, TrainData
from s4core.train.errors import CheckpointError, Diverged
from s4core.train.fit import evaluate, fit, load_model
from s4core.train.report import EpochReport

__all__ = [
    "Batch",
    "CheckpointError",
    "ConfigError",
    "Diverged",
    "EpochReport",
    "TaskShape",
    "TrainConfig",
    "TrainData",
    "build",
    "config",
    "evaluate",
    "fit",
    "from_mapping",
    "load_model",
    "model_config",
    "model_mapping",
    "model_names",
    "to_mapping",
]
