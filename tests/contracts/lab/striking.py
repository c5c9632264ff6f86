"""S4D whose models with a dropout above 0.4 strike when they are validated, alone or in a crew."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any, Literal

from torch import nn

from s4core.config import TaskShape, config
from s4core.models import s4d


@config
class Config(s4d.Config):
    """fault: raise a ValueError, kill the process each time, or only if `marker` is not there.

    at: the batch of validation, counted since the process took up the trial.
    """

    fault: Literal["raise", "kill", "kill_once"] = "raise"
    at: int = 1
    marker: str = ""


def build(config: Config, shape: TaskShape) -> nn.Module:
    """An S4D, with a fault that does not change its shape."""
    model = s4d.build(config, shape)
    batches = itertools.count(1)

    def strike(module: nn.Module, *inputs: Any) -> None:
        if module.training or next(batches) < config.at:
            return
        if config.fault == "raise":
            raise ValueError("this model strikes")
        if config.fault == "kill" or not Path(config.marker).exists():
            if config.marker:
                Path(config.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    if config.dropout > 0.4:
        model.register_forward_pre_hook(strike)
    return model
