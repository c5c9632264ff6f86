"""A progress bar for each thing that is told of: downloads, splits that are prepared, a test."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


class Bars:
    """Called as (what, done, in all or 0 if unknown); `shown` draws the bars."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.shown = Progress("{task.description}", *columns, console=console)
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Draw a bar for `what`, or move it."""
        if what not in self._tasks:
            self._tasks[what] = self.shown.add_task(what, total=total or None)
        self.shown.update(self._tasks[what], completed=done, total=total or None)

    def clear(self) -> None:
        """Take all bars away."""
        for task in self._tasks.values():
            self.shown.remove_task(task)
        self._tasks.clear()


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int, int], None] | None]:
    """Give a progress callback that draws on stderr; None where nobody would see it."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield None
        return
    drawn = Bars(console)
    with drawn.shown:
        yield drawn
