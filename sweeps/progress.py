"""How far a trial is within an epoch: a small file for live tables, on which nothing depends.

Written at most once a second and not synced, so that it costs training nothing (0.1 ms a second).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_prep import Batch, Dataset
from data_prep.fetch import Progress

from .files import read_json

EVERY_S = 1.0
FILE = ".progress.json"  # a file of the moment: no home in an object store is sent it


class Counted:
    """A data set for `s4core.fit` and `evaluate` that tells of each batch that is taken from it.

    tell: hears (split, batches done, batches in all).
    """

    def __init__(self, data: Dataset, tell: Progress) -> None:
        self._data = data
        self._tell = tell

    def size(self, split: str) -> int:
        """Examples in the split."""
        return self._data.size(split)

    def batches(
        self, split: str, *, batch_size: int, world: int = 1, **options: Any
    ) -> Iterator[Batch]:
        """The batches of the data set; each is told of when those before it are done."""
        total = math.ceil(self.size(split) / (batch_size * world))
        batches = self._data.batches(split, batch_size=batch_size, world=world, **options)
        for done, batch in enumerate(batches):
            self._tell(split, done, total)
            yield batch
        self._tell(split, total, total)


class ProgressFile:
    """Keeps the last word of a trial's progress in its folder; see `read_progress`.

    measure: figures of the moment to go with it (names as in MLflow's system metrics).
    """

    def __init__(self, folder: Path, measure: Callable[[], dict[str, float]]) -> None:
        self._path = folder / FILE
        self._measure = measure
        self._written = -math.inf
        self.close()  # what a kill left behind

    def __call__(self, split: str, done: int, total: int) -> None:
        """Note that `done` of `total` batches of a split are done, if the last note is old."""
        if time.monotonic() - self._written < EVERY_S:
            return
        about = {"split": split, "done": done, "total": total, "host": self._measure()}
        part = self._path.with_suffix(".tmp")
        part.write_text(json.dumps(about), encoding="utf-8")
        os.replace(part, self._path)
        self._written = time.monotonic()

    def close(self) -> None:
        """Take the file away: nobody is at the trial any more."""
        self._path.unlink(missing_ok=True)


def read_progress(folder: Path) -> dict[str, Any] | None:
    """The last word of a trial: split, done, total, host; None when nothing is known."""
    found: dict[str, Any] | None = read_json(folder / FILE)
    return found
