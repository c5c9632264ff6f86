"""What the adapters of Ray Tune share: which of Tune's trials is which trial of the study.

The study decides everything that must outlive this process; the ledger only remembers what is
running now, when to stop issuing, and why.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from cluster.outages import patiently
from cluster.worker import Failure, Job
from s4core.train.report import EpochReport
from sweeps import Finished, Outcome, Study, Waiting
from sweeps.types import SweepEvents, TrialResult, TrialSpec

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a sweep or a trial early.

    concurrent: trials at once (None: as many as fit); same_error: failures in a row with the same
    error that stop the sweep; losses: times that a trial may lose its worker or node in a row
    without finishing an epoch in between.
    """

    concurrent: int | None = None
    same_error: int = 3
    losses: int = 5


@dataclasses.dataclass(kw_only=True)
class Running:
    """A trial that Tune has: its spec and what it has said so far."""

    spec: TrialSpec
    outcome: Outcome
    last_epoch: int = 0
    started: bool = False
    pruned: bool = False


class Ledger:
    """Issues trials out of the study and takes in what becomes of them; one per attempt."""

    def __init__(self, study: Study, events: SweepEvents, *, job: Job, limits: Limits) -> None:
        """`job` is the pattern of the jobs: every trial gets its own spec and folder."""
        self.study = study
        self.limits = limits
        self.stop_reason: str | None = None
        self._job = job
        self._events = events
        self._running: dict[str, Running] = {}
        self._draining = False
        self._same_error: list[str] = []

    def drain(self, reason: str | None = None) -> None:
        """Issue nothing more and stop every trial after the epoch it is in; safe in a handler."""
        self._draining = True
        self.stop_reason = self.stop_reason or reason

    @property
    def is_drained(self) -> bool:
        """Whether nothing runs any more after `drain`."""
        return self._draining and not any(r.started for r in self._running.values())

    def next_job(self, tune_id: str) -> Job | Waiting | Finished:
        """What to start now, if anything."""
        if self._draining:
            return Finished()
        if self.limits.concurrent is not None and len(self._running) >= self.limits.concurrent:
            return Waiting()
        spec = patiently(self.study.ask)
        if not isinstance(spec, TrialSpec):
            return spec
        self._running[tune_id] = Running(spec=spec, outcome=Outcome(spec))
        folder = Path(self.study.trial_folder(spec.number))
        return dataclasses.replace(self._job, spec=spec, folder=str(folder))

    def started(self, tune_id: str) -> None:
        """A worker has the trial (again, after a loss)."""
        running = self._running[tune_id]
        running.started = True
        self._events.trial_started(running.spec)

    def reported(self, tune_id: str, report: EpochReport) -> bool:
        """Take in an epoch; True when the trial has to stop now."""
        running = self._running[tune_id]
        number = running.spec.number
        prune = patiently(lambda: self.study.report(number, report))
        running.outcome.add(report)
        if report.epoch > running.last_epoch:
            running.last_epoch = report.epoch
            self._events.trial_reported(number, report)
        running.pruned = prune and report.stopped_by is None
        return running.pruned or self._draining

    def ended(self, tune_id: str, failure: Failure | None = None) -> None:
        """Tune is done with the trial; one that was only stopped stays RUNNING for the next driver.

        Its last report, if it was one, has been given to `reported` before.
        """
        running = self._running.pop(tune_id)
        outcome = running.outcome
        if failure is None and not running.pruned and not outcome.is_over:
            return
        result = outcome.result(pruned=running.pruned, error=failure.error if failure else None)
        patiently(lambda: self.study.tell(result))
        self._events.trial_ended(result)
        self._count(failure, result)

    def lost(self, tune_id: str, reason: str) -> None:
        """The trial's worker or node is gone, and Tune starts the trial again."""
        running = self._running[tune_id]
        running.started = False
        logger.warning(
            "trial %d lost its worker after epoch %d and is started again: %s",
            running.spec.number,
            running.last_epoch,
            reason,
        )

    def _count(self, failure: Failure | None, result: TrialResult) -> None:
        """Stop the sweep when the same error comes again and again."""
        if failure is None:
            self._same_error.clear()
            return
        if self._same_error[-1:] != [failure.signature]:
            self._same_error.clear()
        self._same_error.append(failure.signature)
        if len(self._same_error) >= self.limits.same_error:
            count = len(self._same_error)
            self.drain(f"{count} trials in a row failed with the same error: {result.error}")
