"""A model that goes wrong on purpose: a bag of tokens with a fault that strikes while it trains."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from s4core.config import TaskShape, config


@config
class Config:
    """fault strikes in training step `at` (1, 2, ... since the process took up the trial).

    raise: a ValueError; nan: the loss is NaN from there on; kill: SIGKILL of the process, each
    time; kill_once: only if `marker` is not there yet; greedy: memory until somebody objects, or
    8 GB; hold: 1.2 GB for two seconds.
    delay_s: seconds that every training step takes; marker: a file that steps leave behind.
    """

    fault: Literal["none", "raise", "nan", "kill", "kill_once", "greedy", "hold"] = "none"
    at: int = 6
    delay_s: float = 0.0
    marker: str = ""
    d_model: int = 4


class Faulty(nn.Module):
    """Mean of the embedded tokens, then one linear layer."""

    def __init__(self, config: Config, shape: TaskShape) -> None:
        super().__init__()
        self.config = config
        self.steps = 0
        self.embed = nn.Embedding(shape.d_input, config.d_model)
        self.head = nn.Linear(config.d_model, shape.d_output)

    def forward(self, x: Tensor, lengths: Any = None, rate: float = 1.0, dt: Any = None) -> Tensor:
        y: Tensor = self.head(self.embed(x).mean(dim=1))
        if not self.training:
            return y
        self.steps += 1
        time.sleep(self.config.delay_s)
        return self.strike(y) if self.steps >= self.config.at else y

    def strike(self, y: Tensor) -> Tensor:
        match self.config.fault:
            case "raise":
                raise ValueError(f"step {self.steps} is bad")
            case "nan":
                return y * torch.nan
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill_once" if not Path(self.config.marker).exists():
                Path(self.config.marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "hold" if self.steps == self.config.at:
                held = torch.ones(300_000_000)
                for _ in range(20):  # in between, the guard's exception can be raised
                    time.sleep(0.1)
                del held
            case "greedy":
                hoard = [torch.ones(4_000_000)]
                while len(hoard) < 500:
                    hoard.append(hoard[0].clone())
                    time.sleep(0.005)
        return y


def build(config: Config, shape: TaskShape) -> Faulty:
    """Build the model; it trains like any other until its fault strikes."""
    return Faulty(config, shape)
