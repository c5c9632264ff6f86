"""The live table of a sweep on a terminal: the trials, where they are, how fast it all goes."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.bars import Bars
from cluster.live import figure, settings
from cluster.pace import Pace
from dashboards.leaderboard import duration
from s4core.train.report import EpochReport
from sweeps.host import gpu_use
from sweeps.progress import read_progress
from sweeps.types import SweepResult, TrialResult, TrialSpec, TrialState

SHOWN = 12  # trials in the table: the running ones and the latest of the others
LONG_S = 3.0  # an epoch that takes as long has a bar of its own
STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETED: "green",
    TrialState.STOPPED: "green",
    TrialState.PRUNED: "yellow",
    TrialState.CUT: "yellow",
    TrialState.FAILED: "red",
}


class LiveTable:
    """A table of the trials that is redrawn twice a second; a `live.Show`."""

    def __init__(
        self,
        console: Console,
        *,
        known: SweepResult,
        target: Callable[[], int],
        trial_folder: Callable[[int], Path],
    ) -> None:
        self._objective = known.objective
        self._others = [objective.metric for objective in known.objectives[1:]]
        self._pace = Pace(known, target)
        self._trial_folder = trial_folder
        self._lock = threading.Lock()
        self._rows: dict[int, _Row] = {}
        self._began = time.monotonic()
        self._note = ""
        self._bars = Bars(console)
        for result in known.trials:
            self.trial_ended(result)
        self._live = Live(
            console=console, get_renderable=self.drawn, refresh_per_second=2, transient=False
        )

    def open(self) -> None:
        self._began = time.monotonic()
        self._live.start()

    def close(self) -> None:
        self._bars.clear()
        self._live.stop()

    def note(self, text: str) -> None:
        self._bars.clear()  # they belong to what was noted before
        self._note = text

    def progress(self, what: str, done: int, total: int) -> None:
        self._bars(what, done, total)

    def trial_started(self, spec: TrialSpec) -> None:
        with self._lock:
            self._pace.trial_started(spec)
            row = self._rows.setdefault(spec.number, _Row(settings(spec.params)))
            row.state = TrialState.RUNNING
            row.epochs_of = int(spec.train.get("epochs", 0))
            row.is_repeat = spec.replicate_of is not None

    def trial_reported(self, number: int, report: EpochReport) -> None:
        with self._lock:
            self._pace.trial_reported(number, report)
            row = self._rows[number]
            row.epoch = report.epoch
            row.last = report.metrics.get(self._objective.metric)
            row.others = [report.metrics.get(metric) for metric in self._others]
            row.seconds = report.metrics.get("epoch_s")
            row.samples_per_s = report.metrics.get("samples_per_s")
            if report.best:
                row.best = row.last

    def trial_ended(self, result: TrialResult) -> None:
        with self._lock:
            self._pace.trial_ended(result)
            row = self._rows.setdefault(result.number, _Row(settings(result.params)))
            row.state, row.best, row.error = result.state, result.value, result.error
            row.others = list(result.values[1:]) or row.others
            row.is_repeat = result.replicate_of is not None
            row.epoch = max(row.epoch, result.epochs)

    def drawn(self) -> Group:
        """Everything as it stands now."""
        # Read before the lock is taken: a slow disk must not hold up the driver.
        words = {n: read_progress(self._trial_folder(n)) or {} for n in self._running()}
        with self._lock:
            return Group(self._table(words), self._bars.shown.get_renderable())

    def _table(self, words: Mapping[int, Mapping[str, Any]]) -> Table:
        use = {number: gpu_use(word.get("host", {})) for number, word in words.items()}
        gpus = {number: value for number, value in use.items() if value is not None}
        long = any(self._rows[n].takes_long for n in words)
        table = Table(title=self._title(gpus), caption=self._note or None, title_justify="left")
        for name in ("trial", "state", "epoch", *(["within"] if long else [])):
            left = name in ("state", "within")
            table.add_column(name, justify="left" if left else "right", no_wrap=True)
        figures = (self._objective.metric, "best", *self._others, "s/epoch")
        for name in (*figures, *(["GPU"] if gpus else [])):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("settings")  # alone gives way where the terminal is narrow
        best = self._best_number()
        for number in self._chosen():
            row = self._rows[number]
            cells = row.cells(number, is_best=number == best)
            others = row.others or [None] * len(self._others)
            cells[5:5] = map(figure, others)
            if gpus:
                cells.insert(-1, f"{gpus[number]:.0f} %" if number in gpus else "")
            if long:
                cells.insert(3, _within(words.get(number, {})) if row.takes_long else "")
            table.add_row(*cells)
        return table

    def _title(self, gpus: Mapping[int, float]) -> str:
        rows = self._rows.values()
        running = [r for r in rows if r.state is TrialState.RUNNING]
        failed = sum(r.state is TrialState.FAILED for r in rows)
        title = f"{self._pace.done}/{self._pace.target} done, {len(running)} running"
        title += f", {failed} failed" if failed else ""
        title += f", {duration(time.monotonic() - self._began)}{self._pace.words()}"
        speed = sum(r.samples_per_s or 0.0 for r in running)
        title += f", {speed:,.0f} samples/s" if speed else ""
        return title + (f", GPU {statistics.fmean(gpus.values()):.0f} %" if gpus else "")

    def _running(self) -> list[int]:
        with self._lock:
            return [n for n, r in self._rows.items() if r.state is TrialState.RUNNING]

    def _chosen(self) -> list[int]:
        """The running trials and the latest others, in order of number."""
        running = [n for n, r in self._rows.items() if r.state is TrialState.RUNNING]
        others = sorted(n for n in self._rows if n not in running)
        room = max(0, SHOWN - len(running))
        return sorted(running + others[len(others) - min(room, len(others)) :])

    def _best_number(self) -> int | None:
        best: tuple[int, float] | None = None
        for number, row in self._rows.items():
            if row.best is None or row.is_repeat or row.state is TrialState.FAILED:
                continue
            if self._objective.is_better(row.best, best[1] if best else None):
                best = (number, row.best)
        return best[0] if best else None


class _Row:
    """What the table knows of one trial."""

    def __init__(self, settings: str) -> None:
        self.settings = settings
        self.state = TrialState.WAITING
        self.is_repeat = False
        self.epoch = 0
        self.epochs_of = 0
        self.last: float | None = None
        self.best: float | None = None
        self.others: list[float | None] = []
        self.seconds: float | None = None
        self.samples_per_s: float | None = None
        self.error: str | None = None

    @property
    def takes_long(self) -> bool:
        """Whether the place within the epoch is worth showing."""
        is_running = self.state is TrialState.RUNNING
        return is_running and (self.seconds is None or self.seconds >= LONG_S)

    def cells(self, number: int, *, is_best: bool) -> list[Any]:
        return [
            str(number),
            Text(self.state.value, style=STYLES.get(self.state, "")),
            f"{self.epoch}/{self.epochs_of}" if self.epochs_of else str(self.epoch),
            figure(self.last),
            Text(figure(self.best), style="bold green" if is_best else ""),
            "-" if self.seconds is None else f"{self.seconds:.1f}",
            Text(
                self.error or self.settings,
                style="red" if self.error else "",
                no_wrap=True,
                overflow="ellipsis",
            ),
        ]


def _within(word: Mapping[str, Any]) -> Any:
    """A bar for the batches of a split that are done."""
    if not word:
        return ""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(word["total"], word["done"], width=10), word["split"])
    return grid
