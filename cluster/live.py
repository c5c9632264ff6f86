"""What a sweep says while it runs: a live table on a terminal, plain lines or JSON lines elsewhere.

Each class here is a `sweeps.SweepEvents`; they only note and draw, and never raise into the driver.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from s4core.train.report import EpochReport
from sweeps.types import SweepEvents, SweepResult, TrialResult, TrialSpec, TrialState

SHOWN = 12  # trials in the live table: the running ones and the latest of the others
STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETED: "green",
    TrialState.STOPPED: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAILED: "red",
}


class Show(SweepEvents, Protocol):
    """A watcher of a sweep that is opened before its first event and closed after its last."""

    def open(self) -> None:
        """Begin to show."""

    def close(self) -> None:
        """Show the last state and stop."""

    def note(self, text: str) -> None:
        """Say one line about the sweep as a whole."""


def choose(mode: str, *, known: SweepResult, target: int) -> Show:
    """The watcher for `mode`: "auto" (a table on a terminal, else lines), "json" or "quiet".

    known: how the sweep stands before this run of its driver.
    """
    if mode == "json":
        return JsonLines(sys.stdout)
    if mode == "quiet":
        return Lines(None, known=known, target=target)
    if sys.stdout.isatty():
        return LiveTable(Console(), known=known, target=target)
    return Lines(sys.stdout, known=known, target=target)


class JsonLines:
    """One JSON object a line and event, for programs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def note(self, text: str) -> None:
        self._write("note", {"text": text})

    def trial_started(self, spec: TrialSpec) -> None:
        self._write("started", {"number": spec.number, "params": dict(spec.params)})

    def trial_reported(self, number: int, report: EpochReport) -> None:
        self._write("epoch", {"number": number, **report.to_json()})

    def trial_ended(self, result: TrialResult) -> None:
        self._write("ended", result.to_json())

    def _write(self, event: str, data: Mapping[str, Any]) -> None:
        _say(json.dumps({"event": event, "time": time.time(), **data}), self._out)


class Lines:
    """A plain line for each start, epoch and end; `out` None says nothing."""

    def __init__(self, out: TextIO | None, *, known: SweepResult, target: int) -> None:
        self._out = out
        self._objective = known.objective
        self._target = target
        self._done = {t.number for t in known.trials if _counts(t)}

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def note(self, text: str) -> None:
        self._write(text)

    def trial_started(self, spec: TrialSpec) -> None:
        self._write(f"trial {spec.number} started: {_params(spec.params)}")

    def trial_reported(self, number: int, report: EpochReport) -> None:
        value = _number(report.metrics.get(self._objective.metric))
        star = " *" if report.best else ""
        seconds = report.metrics.get("epoch_s")
        took = f" ({seconds:.1f} s)" if seconds is not None else ""
        self._write(
            f"trial {number} epoch {report.epoch}: {self._objective.metric} {value}{took}{star}"
        )

    def trial_ended(self, result: TrialResult) -> None:
        if _counts(result):
            self._done.add(result.number)
        how = f"best {_number(result.value)} at epoch {result.best_epoch}"
        how = f"{result.error}" if result.state is TrialState.FAILED else how
        count = f"[{len(self._done)}/{self._target} done]"
        self._write(f"trial {result.number} {result.state.value}: {how} {count}")

    def _write(self, text: str) -> None:
        if self._out is not None:
            _say(text, self._out)


class LiveTable:
    """A table of the trials that is redrawn twice a second."""

    def __init__(self, console: Console, *, known: SweepResult, target: int) -> None:
        self._objective = known.objective
        self._target = target
        self._lock = threading.Lock()
        self._rows: dict[int, _Row] = {}
        self._began = time.monotonic()
        self._note = ""
        for result in known.trials:
            self.trial_ended(result)
        self._live = Live(
            console=console, get_renderable=self.table, refresh_per_second=2, transient=False
        )

    def open(self) -> None:
        self._began = time.monotonic()
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._note = text

    def trial_started(self, spec: TrialSpec) -> None:
        with self._lock:
            row = self._rows.setdefault(spec.number, _Row(_params(spec.params)))
            row.state = TrialState.RUNNING
            row.epochs_of = int(spec.train.get("epochs", 0))

    def trial_reported(self, number: int, report: EpochReport) -> None:
        with self._lock:
            row = self._rows[number]
            row.epoch = report.epoch
            row.last = report.metrics.get(self._objective.metric)
            row.seconds = report.metrics.get("epoch_s")
            if report.best:
                row.best = row.last

    def trial_ended(self, result: TrialResult) -> None:
        with self._lock:
            row = self._rows.setdefault(result.number, _Row(_params(result.params)))
            row.state, row.best, row.error = result.state, result.value, result.error
            row.epoch = max(row.epoch, result.epochs)

    def table(self) -> Table:
        """The table as it stands now."""
        with self._lock:
            running = sum(r.state is TrialState.RUNNING for r in self._rows.values())
            failed = sum(r.state is TrialState.FAILED for r in self._rows.values())
            done = len(self._rows) - running - failed
            title = f"{done}/{self._target} done, {running} running"
            title += f", {failed} failed" if failed else ""
            title += f", {time.monotonic() - self._began:.0f} s"
            table = Table(title=title, caption=self._note or None, title_justify="left")
            for name, justify in (("trial", "right"), ("state", "left"), ("epoch", "right")):
                table.add_column(name, justify=justify)  # type: ignore[arg-type]
            for name in (self._objective.metric, "best", "s/epoch"):
                table.add_column(name, justify="right")
            table.add_column("settings", overflow="ellipsis", no_wrap=True)
            best = self._best_number()
            for number in self._chosen():
                self._rows[number].draw(table, number, is_best=number == best)
            return table

    def _chosen(self) -> list[int]:
        """The running trials and the latest others, in order of number."""
        running = [n for n, r in self._rows.items() if r.state is TrialState.RUNNING]
        others = sorted(n for n in self._rows if n not in running)
        return sorted(running + others[-max(0, SHOWN - len(running)) :])

    def _best_number(self) -> int | None:
        best: tuple[int, float] | None = None
        for number, row in self._rows.items():
            if row.best is None or row.state is TrialState.FAILED:
                continue
            if self._objective.is_better(row.best, best[1] if best else None):
                best = (number, row.best)
        return best[0] if best else None


class _Row:
    """What the table knows of one trial."""

    def __init__(self, settings: str) -> None:
        self.settings = settings
        self.state = TrialState.WAITING
        self.epoch = 0
        self.epochs_of = 0
        self.last: float | None = None
        self.best: float | None = None
        self.seconds: float | None = None
        self.error: str | None = None

    def draw(self, table: Table, number: int, *, is_best: bool) -> None:
        style = STYLES.get(self.state, "")
        table.add_row(
            str(number),
            Text(self.state.value, style=style),
            f"{self.epoch}/{self.epochs_of}" if self.epochs_of else str(self.epoch),
            _number(self.last),
            Text(_number(self.best), style="bold green" if is_best else ""),
            "-" if self.seconds is None else f"{self.seconds:.1f}",
            Text(self.error, style="red") if self.error else self.settings,
        )


def _counts(result: TrialResult) -> bool:
    """Whether a trial is one of those that were asked for."""
    return result.state.is_finished and result.state is not TrialState.FAILED


def _say(text: str, out: TextIO) -> None:
    """Print a line; that nobody reads it any more must not end the sweep."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=out, flush=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _params(params: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key.split('.')[-1]}={text(value)}" for key, value in params.items())
