"""The delay task: give back a band-limited signal, a fixed time later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.batches import Batch
from data_prep.card import TaskInfo
from data_prep.datasets import _synthetic as synthetic
from data_prep.registry import Raw
from data_prep.transforms import Stored, View

CARD = synthetic.card(
    "delay",
    "The delay task",
    citation="Voelker et al. 2019, Legendre memory units; Gu et al. 2021, arXiv:2110.13985",
    shapes="x (length, 1); the input `lag` steps before, at every step (0 before there is one)",
    cached_bytes=192_000_000,
    units="a signal without a unit, of root mean square 0.5",
)
SHARD_ROWS, sizes = synthetic.SHARD_ROWS, synthetic.sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(synthetic.Signals):
    """length, lag: steps."""

    length: int = 4000
    lag: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.lag < self.length:
            raise ValueError(f"need 0 < lag < length = {self.length}, got {self.lag}.")
        cycles = self.freq * self.length * self.dt
        if cycles < 1:
            raise ValueError(f"need freq * length * dt >= 1, got {cycles:g}.")


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a signal; the target follows from it."""
    return {"x": Column("float32", (raw.options.length, 1))}


def generate(options: Options, split: str, shard: int) -> Iterator[Mapping[str, Any]]:
    """Draw the signals of a shard."""
    for signal in synthetic.signals("delay", options, split, shard, steps=options.length):
        yield {"x": signal}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delayed:
    """Read signals: y (B, L, 1) is x, `lag` steps later."""

    lag: int

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        x = part.gather("x", index)
        y = np.zeros_like(x)
        y[:, self.lag :] = x[:, : -self.lag]
        return Batch(x=x, y=y, index=index)


def view(stored: Stored) -> View:
    """Read signals with a target a step."""
    options: Options = stored.options
    task = TaskInfo(d_input=1, d_output=1, length=options.length, target="step_value")
    return View(task=task, read=Delayed(lag=options.lag))
