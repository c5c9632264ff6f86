"""The tiny model on a device that has memory for `room` sequences at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s4core.config import TaskShape, config
from tests.s4core.train import tiny


@config
class Config:
    room: int = 4


class Greedy(tiny.Net):
    def __init__(self, config: Config, shape: TaskShape) -> None:
        super().__init__(tiny.Config(), shape)
        self.room = config.room

    def forward(self, x: Tensor, *rest: object, **options: object) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError(f"no memory for {len(x)} sequences")
        return super().forward(x)


def build(config: Config, shape: TaskShape) -> nn.Module:
    return Greedy(config, shape)
