"""The adding problem: add the two marked numbers of a long sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data_prep.arrow import Column
from data_prep.card import TaskInfo
from data_prep.datasets import _synthetic as synthetic
from data_prep.registry import Raw
from data_prep.transforms import Dense, Stored, View

CARD = synthetic.card(
    "adding",
    "The adding problem",
    citation="Hochreiter and Schmidhuber 1997, Long short-term memory",
    shapes="x (length, 2): numbers and markers; their sum",
    cached_bytes=96_000_000,
    units="numbers in [0, 1); a marker is 1, else 0",
    differs=("one marker is in each half; some authors draw both anywhere.",),
)
SHARD_ROWS, sizes = synthetic.SHARD_ROWS, synthetic.sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(synthetic.Sizes):
    """length: steps of a sequence."""

    length: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 2:
            raise ValueError(f"need length >= 2, got {self.length}.")


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is numbers in [0, 1) with their markers, and the sum of the two marked."""
    return {"x": Column("float32", (raw.options.length, 2)), "y": Column("float32")}


def generate(options: Options, split: str, shard: int) -> Iterator[Mapping[str, Any]]:
    """Draw the rows of a shard."""
    random = synthetic.random_of("adding", options.seed, split, shard)
    half = options.length // 2
    for _ in range(SHARD_ROWS):
        x = np.zeros((options.length, 2), np.float32)
        x[:, 0] = random.random_sample(options.length)
        marked = [random.randint(half), random.randint(half, options.length)]
        x[marked, 1] = 1.0
        yield {"x": x, "y": x[marked, 0].sum()}


def view(stored: Stored) -> View:
    """Read rows as they are."""
    task = TaskInfo(d_input=2, d_output=1, length=stored.options.length, target="value")
    return View(task=task, read=Dense(channels=2))
