"""How a model's operations are run: one after the other, compiled, or as replayed CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from s4core.config import ConfigError
from s4core.train.config import Backend


def on_backend(model: nn.Module, backend: Backend, device: torch.device) -> Any:
    """The function that runs `model` so; each shape of input is compiled when it is first seen.

    Raises ConfigError for graphs on a device that has none.
    """
    if backend == "eager":
        return model
    if backend == "compiled":
        return torch.compile(model, dynamic=False)
    if device.type != "cuda":
        raise ConfigError("train.backend", f"graphs needs a GPU, got {device.type}: take compiled.")
    return torch.compile(model, dynamic=False, mode="reduce-overhead")
