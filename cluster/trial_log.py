"""What the trials of a sweep have reported, as lines of text, read from the home alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import UserError
from dashboards.record import Line, SweepRecord, TrialRecord

POLL_S = 1.0
_SHOWN = ("train/loss", "val/loss")


def show(home: Path, name: str, *, trial: int | None, follow: bool) -> int:
    """Print every report in the order of time; with `follow`, go on until the sweep is over."""
    sweep = SweepRecord.of(home, name)
    if trial is not None and not sweep.trial(trial).folder.is_dir():
        raise UserError(f"{name} has no trial {trial} (yet).")
    metric = sweep.objectives()[0].metric
    offsets: dict[int, int] = {}
    ended: set[int] = set()
    while True:
        driven = sweep.is_driven()
        records = [r for r in sweep.trials() if trial is None or r.number == trial]
        for text in _news(records, offsets, ended, metric):
            print(text, flush=True)
        if not follow or not driven or (trial is not None and trial in ended):
            return 0
        time.sleep(POLL_S)


def _news(
    records: list[TrialRecord], offsets: dict[int, int], ended: set[int], metric: str
) -> Iterator[str]:
    """Lines for what came since the last look; notes in `offsets` and `ended` what was seen."""
    found: list[tuple[float, str]] = []
    for record in records:
        for line, after in record.reports(offsets.get(record.number, 0)):
            offsets[record.number] = after
            found.append((line.time, describe(record.number, line, metric)))
    yield from (text for _, text in sorted(found))
    for record in records:
        result = None if record.number in ended else record.result()
        if result is not None:
            ended.add(record.number)
            error = f": {result.error}" if result.error else ""
            yield f"trial {record.number} {result.state.value}{error}"


def describe(number: int, line: Line, metric: str) -> str:
    """One report as one line."""
    clock = time.strftime("%H:%M:%S", time.localtime(line.time))
    metrics = line.report.metrics
    names = [n for n in (metric, *_SHOWN) if n in metrics]
    values = "  ".join(f"{n} {metrics[n]:.4f}" for n in dict.fromkeys(names))
    best = "  best" if line.report.best else ""
    return f"{clock}  trial {number:<4} epoch {line.report.epoch:<4} {values}{best}"
