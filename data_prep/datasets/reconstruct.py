"""The reconstruction task: after a signal has ended, give all of it back."""

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
    "reconstruct",
    "The reconstruction task",
    citation="Gu et al. 2020, HiPPO, arXiv:2008.07669",
    shapes="x (length, 1): a signal of l_mem steps, then silence; the signal at the last l_mem",
    cached_bytes=48_000_000,
    units="a signal without a unit, of root mean square 0.5",
)
SHARD_ROWS, sizes = synthetic.SHARD_ROWS, synthetic.sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(synthetic.Signals):
    """length: steps in all; l_mem: steps of the signal, at most half of them."""

    length: int = 2000
    l_mem: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < 2 * self.l_mem <= self.length:
            most = self.length // 2
            raise ValueError(f"need 1 <= l_mem <= length / 2 = {most}, got {self.l_mem}.")
        cycles = self.freq * self.l_mem * self.dt
        if cycles < 1:
            raise ValueError(f"need freq * l_mem * dt >= 1, got {cycles:g}.")


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a signal; input and target follow from it."""
    return {"signal": Column("float32", (raw.options.l_mem, 1))}


def generate(options: Options, split: str, shard: int) -> Iterator[Mapping[str, Any]]:
    """Draw the signals of a shard."""
    for signal in synthetic.signals("reconstruct", options, split, shard, steps=options.l_mem):
        yield {"signal": signal}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalThenSilence:
    """Read x (B, length, 1) and y of that shape, which is NaN where nothing is asked."""

    length: int

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        signal = part.gather("signal", index)
        steps = signal.shape[1]
        x = np.zeros((len(signal), self.length, 1), np.float32)
        y = np.full_like(x, np.nan)
        x[:, :steps], y[:, -steps:] = signal, signal
        return Batch(x=x, y=y, index=index)


def view(stored: Stored) -> View:
    """Read signals with a target at the last steps."""
    length = stored.options.length
    task = TaskInfo(d_input=1, d_output=1, length=length, target="step_value")
    return View(task=task, read=SignalThenSilence(length=length))
