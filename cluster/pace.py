"""How fast a sweep goes, and when it will be over; counted in epochs, so that one is enough to say.

A trial that has not begun is taken to run as many epochs as the ended ones did on average, pruned
ones included; one that has outlived that average, to its last.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from dashboards.leaderboard import duration
from s4core.train.report import EpochReport
from sweeps.types import SweepResult, TrialResult, TrialSpec, TrialState


class Pace:
    """Told what the driver's watchers are told.

    known: how the sweep stood before; target: says how many trials it shall have, which it is asked
    again as trials start, since `extend` may have changed it; clock: seconds.
    """

    def __init__(
        self,
        known: SweepResult,
        target: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = target
        self.target = target()
        self._clock = clock
        self._ended = {t.number: t for t in known.trials if counts(t)}
        self._running: dict[int, tuple[int, int]] = {}  # epochs done, epochs asked for
        self._done = 0
        self._began: float | None = None

    @property
    def done(self) -> int:
        """Trials that count as done; a failed one does not, nor one that repeats another."""
        return sum(trial.replicate_of is None for trial in self._ended.values())

    def trial_started(self, spec: TrialSpec) -> None:
        """A trial has a worker."""
        self.target = self._wanted()
        self._began = self._began if self._began is not None else self._clock()
        before = self._running.get(spec.number, (0, 0))[0]
        self._running[spec.number] = (before, int(spec.train.get("epochs", 0)))

    def trial_reported(self, number: int, report: EpochReport) -> None:
        """A trial has done an epoch."""
        self._done += 1
        self._running[number] = (report.epoch, self._running.get(number, (0, 0))[1])

    def trial_ended(self, result: TrialResult) -> None:
        """A trial is over."""
        self._running.pop(result.number, None)
        if counts(result):
            self._ended[result.number] = result

    def left_s(self) -> float | None:
        """Seconds until the sweep is over, at the pace so far; None before the first epoch."""
        if self._began is None or not self._done:
            return None
        asked = [of for _, of in self._running.values()]
        usual = statistics.fmean([t.epochs for t in self._ended.values()] or asked or [0])
        left = sum((usual if at < usual else of) - at for at, of in self._running.values())
        left += max(0, self.target - self.done - len(self._running)) * usual
        return left * (self._clock() - self._began) / self._done

    def words(self) -> str:
        """What is left, for people: ", about 3 min left", or nothing."""
        left = self.left_s()
        return f", about {duration(left)} left" if left is not None and left >= 1 else ""


def counts(result: TrialResult) -> bool:
    """Whether a trial is one of those that were asked for."""
    return result.state.is_finished and result.state is not TrialState.FAILED
