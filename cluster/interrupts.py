"""Stopping a driver: by signals in its own terminal, or by a request from elsewhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cluster.control import How
from cluster.live import Show
from cluster.roster import Roster
from sweeps.hints import hint


class Interrupts:
    """The first SIGINT or SIGTERM stops every trial after its epoch, the second stops at once.

    roster: of the attempt that runs; while there is none (Ray starts, data is prepared, the best
    trial is tested) the first signal stops at once.
    """

    def __init__(self, show: Show, name: str) -> None:
        self.count = 0
        self.roster: Roster | None = None
        self._show = show
        self._name = name

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals inside the block; outside the main thread they cannot be."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._handle) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def obey(self, how: How) -> None:
        """Do what a request from elsewhere says; called from a thread."""
        if how == "now":
            self.count = max(1, self.count)
        # The handler runs in the main thread, where alone it can break off what runs.
        os.kill(os.getpid(), signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.roster is None or self.count > 1:
            raise KeyboardInterrupt
        self.roster.drain()
        self._show.note(
            "stopping after the epochs in hand (Ctrl-C again: at once); "
            f"`{hint(f'resume {self._name}')}` goes on"
        )
