"""What a sweep says while it runs: a live table on a terminal, plain lines or JSON lines elsewhere.

Each watcher is a `sweeps.SweepEvents`; they only note and draw, and never raise into the driver.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from rich.console import Console

from cluster.pace import Pace
from s4core.train.report import EpochReport
from sweeps.types import SweepEvents, SweepResult, TrialResult, TrialSpec, TrialState

LINE_EVERY_S = 10.0  # between two lines about one thing that is being prepared


class Show(SweepEvents, Protocol):
    """A watcher of a sweep that is opened before its first event and closed after its last."""

    def open(self) -> None:
        """Begin to show."""

    def close(self) -> None:
        """Show the last state and stop."""

    def note(self, text: str) -> None:
        """Say one line about the sweep as a whole."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far the preparation of data is, or the test; total 0 is unknown."""


def choose(
    mode: str, *, known: SweepResult, target: Callable[[], int], trial_folder: Callable[[int], Path]
) -> Show:
    """The watcher for `mode`: "auto" (a table on a terminal, else lines), "json" or "quiet".

    known: how the sweep stands before this run of its driver.
    """
    if mode == "json":
        return JsonLines(sys.stdout, known=known, target=target)
    if mode == "quiet":
        return Lines(None, known=known, target=target)
    if sys.stdout.isatty():
        from cluster.table import LiveTable

        return LiveTable(Console(), known=known, target=target, trial_folder=trial_folder)
    return Lines(sys.stdout, known=known, target=target)


def console(out: TextIO | None = None) -> Console:
    """What prints tables: as wide as the terminal, 120 columns in a pipe."""
    out = out or sys.stdout
    return Console(file=out, width=None if out.isatty() else 120)


class JsonLines:
    """One JSON object a line and event, for programs."""

    def __init__(self, out: TextIO, *, known: SweepResult, target: Callable[[], int]) -> None:
        self._out = out
        self._pace = Pace(known, target)

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def note(self, text: str) -> None:
        self._write("note", {"text": text})

    def progress(self, what: str, done: int, total: int) -> None:
        self._write("progress", {"what": what, "done": done, "total": total or None})

    def trial_started(self, spec: TrialSpec) -> None:
        self._pace.trial_started(spec)
        what = {"number": spec.number, "params": dict(spec.params), "taken_over": spec.taken_over}
        self._write("started", what)

    def trial_reported(self, number: int, report: EpochReport) -> None:
        self._pace.trial_reported(number, report)
        self._write("epoch", {"number": number, **report.to_json(), "left_s": self._pace.left_s()})

    def trial_ended(self, result: TrialResult) -> None:
        self._pace.trial_ended(result)
        counts = {"done": self._pace.done, "target": self._pace.target}
        self._write("ended", {**result.to_json(), **counts, "left_s": self._pace.left_s()})

    def _write(self, event: str, data: Mapping[str, Any]) -> None:
        _say(json.dumps({"event": event, "time": time.time(), **data}), self._out)


class Lines:
    """A plain line for each start, epoch and end; `out` None says nothing."""

    def __init__(
        self, out: TextIO | None, *, known: SweepResult, target: Callable[[], int]
    ) -> None:
        self._out = out
        self._metrics = [known.objective.metric, *(o.metric for o in known.objectives[1:])]
        self._pace = Pace(known, target)
        self._progress: dict[str, float] = {}

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def note(self, text: str) -> None:
        self._write(text)

    def progress(self, what: str, done: int, total: int) -> None:
        is_new = time.monotonic() - self._progress.get(what, 0.0) >= LINE_EVERY_S
        if not is_new and not 0 < done == total:
            return
        self._progress[what] = time.monotonic()
        self._write(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

    def trial_started(self, spec: TrialSpec) -> None:
        self._pace.trial_started(spec)
        chosen = f": {settings(spec.params)}" if spec.params else ""
        begins = "started" if spec.taken_over is None else f"takes over trial {spec.taken_over}"
        self._write(f"trial {spec.number} {begins}{chosen}")

    def trial_reported(self, number: int, report: EpochReport) -> None:
        self._pace.trial_reported(number, report)
        figures = " ".join(f"{m} {figure(report.metrics.get(m))}" for m in self._metrics)
        star = " *" if report.best else ""
        seconds = report.metrics.get("epoch_s")
        took = f" ({seconds:.1f} s)" if seconds is not None else ""
        self._write(f"trial {number} epoch {report.epoch}: {figures}{took}{star}")

    def trial_ended(self, result: TrialResult) -> None:
        self._pace.trial_ended(result)
        how = f"best {figure(result.value)} at epoch {result.best_epoch}"
        how = f"{result.error}" if result.state is TrialState.FAILED else how
        count = f"[{self._pace.done}/{self._pace.target} done{self._pace.words()}]"
        self._write(f"trial {result.number} {result.state.value}: {how} {count}")

    def _write(self, text: str) -> None:
        if self._out is not None:
            _say(text, self._out)


def _say(text: str, out: TextIO) -> None:
    """Print a line; that nobody reads it any more must not end the sweep."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=out, flush=True)


def figure(value: float | None) -> str:
    """A value of the objective, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def settings(params: Mapping[str, Any]) -> str:
    """What was chosen for a trial, in one line."""

    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key.split('.')[-1]}={text(value)}" for key, value in params.items())
