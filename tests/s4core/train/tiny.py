"""A model outside the registry and a data set in ten lines each: real training, in milliseconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from s4core.config import TaskShape, config

NAME = "tests.s4core.train.tiny"
SHAPE = TaskShape(d_input=1, d_output=3, length=24)


@config
class Config:
    d_model: int = 8
    dropout: float = 0.2


class Leaky(nn.Module):
    """H leaky integrators, real A < 0, by one convolution."""

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("A_log", "B", "log_dt")

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.zeros(d_model))
        self.log_dt = nn.Parameter(torch.linspace(-3.0, -0.5, d_model))
        self.B = nn.Parameter(torch.randn(d_model))
        self.C = nn.Parameter(torch.randn(d_model))
        self.D = nn.Parameter(torch.ones(d_model))

    def forward(self, u: Tensor) -> Tensor:
        length = u.shape[-1]
        decay = -self.log_dt.exp() * self.A_log.exp()
        kernel = (self.B * self.C)[:, None] * torch.exp(decay[:, None] * torch.arange(length))
        spectrum = torch.fft.rfft(u.float(), n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        return torch.fft.irfft(spectrum, n=2 * length)[..., :length] + self.D[:, None] * u


class Net(nn.Module):
    def __init__(self, config: Config, shape: TaskShape) -> None:
        super().__init__()
        self.by_step = shape.target.startswith("step")
        self.encoder = nn.Linear(shape.d_input, config.d_model)
        self.ssm = Leaky(config.d_model)
        self.norm = nn.BatchNorm1d(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = nn.Linear(config.d_model, shape.d_output)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        rate: float = 1.0,
        dt: Tensor | None = None,
    ) -> Tensor:
        y = self.norm(self.ssm(self.encoder(x).mT))
        y = self.dropout(torch.nn.functional.gelu(y)).mT
        return self.decoder(y if self.by_step else y.mean(1))


def build(config: Config, shape: TaskShape) -> nn.Module:
    return Net(config, shape)


@dataclasses.dataclass(frozen=True)
class Batch:
    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray | None = None
    dt: np.ndarray | None = None
    rate: float = 1.0


class Waves:
    """Noisy sines of three frequencies; the class is the frequency. Uneven last batches."""

    def __init__(self, shape: TaskShape = SHAPE, noise: float = 0.2) -> None:
        self.shape, self.noise = shape, noise

    def size(self, split: str) -> int:
        return {"train": 70, "val": 33, "test": 33}[split]

    def batches(
        self,
        split: str,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        x, y = self._examples(split)
        order = np.arange(len(y))
        if shuffle:
            order = np.random.default_rng((seed, epoch)).permutation(order)
        for start in range(0, len(order), batch_size * world):
            part = order[start : start + batch_size * world][rank::world]
            if len(part):
                yield Batch(x[part], y[part])

    def _examples(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(["train", "val", "test"].index(split))
        y = random.integers(0, 3, self.size(split))
        t = np.arange(self.shape.length)
        phase = random.uniform(0, 2 * np.pi, (len(y), 1))
        x = np.sin((0.3 + 0.5 * y[:, None]) * t + phase)
        x = (x + self.noise * random.standard_normal(x.shape)).astype(np.float32)[..., None]
        if self.shape.target == "class":
            return x, y
        if self.shape.target == "step_class":
            return x, np.repeat(y[:, None], self.shape.length, 1)
        return x, y.astype(np.float32)[:, None]
