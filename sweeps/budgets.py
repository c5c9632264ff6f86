"""When a sweep is done: trials, failures, hours, GPU hours, no improvement."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sweeps.plural import plural

from . import record
from .ledger import Ledger
from .tally import Tally
from .types import Objective, TrialResult, TrialState

WALL_EVERY_S = 30.0


class Wall:
    """The time for which drivers have had a sweep in hand, in seconds."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._since = self._noted = time.monotonic()
        self._before: float | None = None

    def begin(self) -> None:
        """Count from now on, on top of what drivers before this one have written."""
        self._since = time.monotonic()
        self._before = float(self._ledger.attrs().get(record.WALL, 0.0))

    @property
    def seconds(self) -> float:
        """The sum."""
        return (self._before or 0.0) + time.monotonic() - self._since

    def note(self) -> None:
        """Write it down, every half a minute: a write waits for the disk."""
        if self._before is not None and time.monotonic() - self._noted > WALL_EVERY_S:
            self._ledger.set(record.WALL, self.seconds)
            self._noted = time.monotonic()


class Seconds:
    """What trials have spent in epochs: the ended ones in all, the running ones epoch by epoch.

    A sum that is kept, because it is asked for at every report.
    """

    def __init__(self, ended: Sequence[TrialResult]) -> None:
        self.total = sum(result.seconds for result in ended)
        self._running: dict[int, dict[int, float]] = {}

    def report(self, number: int, epoch: int, seconds: float) -> None:
        """Count an epoch; one that is said again counts once."""
        epochs = self._running.setdefault(number, {})
        self.total += seconds - epochs.get(epoch, 0.0)
        epochs[epoch] = seconds

    def end(self, result: TrialResult) -> None:
        """Count a trial as its result does, not by its epochs; to be called once a trial."""
        self.total += result.seconds - sum(self._running.pop(result.number, {}).values())


def failed(ledger: Ledger, tally: Tally) -> str | None:
    """Say whether too many trials have failed to go on.

    Trials that were lost with their workers have a budget of their own, of the same size.
    """
    limit = ledger.spec.search.max_failures
    bad = [tally.results[number] for number in sorted(tally.failed)]
    for is_lost in (False, True):
        some = [r for r in bad if r.lost is is_lost]
        if len(some) > limit:
            last = some[-1].error
            return f"{plural(len(some), 'trial')} failed (max_failures: {limit}); the last: {last}"
    return None


def spent(ledger: Ledger, tally: Tally, wall_s: float, epochs_s: float) -> str | None:
    """Say which budget for new configurations is used up; None while there is some left."""
    search = ledger.spec.search
    target = int(ledger.attrs().get(record.TARGET, search.trials))
    if len(tally.counted) >= target:
        return plural(target, "trial")
    if (hours := hours_spent(ledger, wall_s, epochs_s)) is not None:
        return hours
    if search.no_improvement is not None:
        since = _since_best(ledger.spec.objectives, list(tally.results.values()))
        if since >= search.no_improvement:
            return f"no improvement in {plural(since, 'trial')}"
    return None


def hours_spent(ledger: Ledger, wall_s: float, epochs_s: float) -> str | None:
    """Say which hard budget is used up: one that stops what runs, after the epoch in hand.

    epochs_s: seconds that all trials have spent in epochs.
    """
    search = ledger.spec.search
    if search.wall_hours is not None and wall_s >= search.wall_hours * 3600:
        return plural(search.wall_hours, "hour")
    if search.gpu_hours is not None:
        gpus = ledger.spec.resources.gpus * ledger.spec.resources.workers
        if epochs_s * gpus / 3600 >= search.gpu_hours:
            return plural(search.gpu_hours, "GPU hour")
    return None


def _since_best(objectives: Sequence[Objective], results: list[TrialResult]) -> int:
    """Count the trials that ended after the last one that none before it was as good as.

    With several objectives: as good as in every one of them, so that what joins the front counts.
    """
    front: list[tuple[float, ...]] = []
    since = 0
    for result in sorted(results, key=lambda r: r.ended or 0.0):
        if result.state is TrialState.FAILED or result.replicate_of is not None:
            continue
        costs = tuple(o.cost(v) for o, v in zip(objectives, result.values, strict=False))
        since += 1
        if costs and not any(_is_as_good(before, costs) for before in front):
            front, since = [*(b for b in front if not _is_as_good(costs, b)), costs], 0
    return since


def _is_as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
