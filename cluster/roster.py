"""What the adapters of Ray Tune share: which of Tune's trials is which trial of the study.

The study decides everything that must outlive this process; the roster only remembers what is
running now, when to stop issuing, and why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from cluster.live import Show
from cluster.outages import patiently
from cluster.packing import Packing
from cluster.worker import Failure, Job
from s4core.train.report import EpochReport
from sweeps import Finished, Outcome, Study, SweepError, SweepLocked, Waiting
from sweeps.types import TrialResult, TrialSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a sweep or a trial early.

    at_once: says how many trials may be out now. same_error: failures in a row with the same error
    that stop the sweep. losses: how often a trial is started again after it lost its worker or
    node, counted anew after each epoch that it finishes. only: issue this trial and no other.
    """

    at_once: Callable[[], int]
    same_error: int = 3
    losses: int = 10
    only: int | None = None


@dataclasses.dataclass(kw_only=True)
class Running:
    """A trial that Tune has: its spec and what it has said so far."""

    spec: TrialSpec
    outcome: Outcome
    known_epochs: int
    started: bool = False
    pruned: bool = False


class Roster:
    """Issues trials out of the study and takes in what becomes of them; one per attempt."""

    def __init__(
        self,
        study: Study,
        events: Show,
        *,
        job: Callable[..., Job],
        limits: Limits,
        is_ours: Callable[[], bool],
        packing: Packing | None = None,
    ) -> None:
        """job: makes the Job of a trial from its `spec` and `folder`; is_ours: the lock is held.

        packing: is told what trials measure; when it finds other shares, the roster drains.

        A driver that stood still (SIGSTOP, a laptop's lid) may wake up when another one has taken
        the sweep over: it then writes nothing more.
        """
        self._is_ours = is_ours
        self.study = study
        self.limits = limits
        self.stop_reason: str | None = None
        self.fault: SweepError | None = None
        self.progressed = False
        self.has_new_shares = False
        self._packing = packing
        self._issued = False
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

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles its searcher for a restore that we never ask of it."""
        return {}

    def next_job(self, tune_id: str) -> Job | Waiting | Finished:
        """What to start now, if anything."""
        self._check_lock()
        if self._draining:
            return Finished(self.stop_reason or "stopped")
        if len(self._running) >= self.limits.at_once():
            return Waiting("as many trials as fit are running")
        if self.limits.only is not None and self._issued:
            return Finished(f"only trial {self.limits.only} was asked for")
        spec = patiently(self.study.ask)
        if not isinstance(spec, TrialSpec):
            return spec
        self._issued = True
        known = self.study.ledger.result(spec.number).epochs
        outcome = Outcome(self.study.spec.objectives)
        self._running[tune_id] = Running(spec=spec, outcome=outcome, known_epochs=known)
        folder = Path(self.study.trial_folder(spec.number))
        return self._job(spec=spec, folder=str(folder))

    def started(self, tune_id: str) -> None:
        """A worker has the trial (again, after a loss)."""
        running = self._running[tune_id]
        running.started = True
        self._events.trial_started(running.spec)

    def reported(self, tune_id: str, report: EpochReport) -> bool:
        """Take in an epoch; True when the trial has to stop now."""
        running = self._running[tune_id]
        number = running.spec.number
        self._check_lock()
        if self.fault is not None:
            return True
        try:
            prune = patiently(lambda: self.study.report(number, report))
        except SweepError as error:  # the user's mistake: no trial can do better
            self.fault = error
            self.drain(str(error))
            return True
        if running.outcome.add(report) and report.epoch > running.known_epochs:
            self.progressed = True
            self._events.trial_reported(number, report)
            if self._packing is not None and self._packing.measured(report):
                self._share_anew()
        running.pruned = prune and report.stopped_by is None
        return running.pruned or self._draining

    def ended(self, tune_id: str, failure: Failure | None = None) -> None:
        """Tune is done with the trial; one that was only stopped stays RUNNING for the next driver.

        Its last report, if it was one, has been given to `reported` before.
        """
        running = self._running.pop(tune_id)
        self._check_lock()
        if self.fault is not None:
            return
        if failure is not None and self._packing and self._packing.outgrown(failure.signature):
            number = running.spec.number
            self._events.note(f"trial {number} outgrew its share and is started again with more")
            self.study.release(number)
            self._share_anew()
        elif failure is not None:
            result = self._tell(running, failure.error)
            self._count(failure.signature, result)
        elif running.pruned or running.outcome.stopped_by is not None:
            self._tell(running, None)
            self._same_error.clear()
        else:
            self.study.release(running.spec.number)

    def given_up(self, tune_id: str) -> None:
        """The trial has lost too many workers: FAILED, but no error of its own."""
        running = self._running.pop(tune_id)
        times = self.limits.losses + 1
        self._check_lock()
        if self.fault is None:
            error = f"lost its worker or node {times} times in a row within one epoch"
            self._tell(running, error, lost=True)

    def lost(self, tune_id: str, reason: str) -> None:
        """The trial's worker or node is gone, and Tune starts the trial again."""
        running = self._running[tune_id]
        running.started = False
        self._events.note(
            f"trial {running.spec.number} lost its worker after epoch {running.outcome.epochs} "
            f"and is started again: {reason}"
        )

    def _share_anew(self) -> None:
        self.has_new_shares = True
        self.drain()

    def _tell(self, running: Running, error: str | None, *, lost: bool = False) -> TrialResult:
        ended = running.outcome.result(running.spec, pruned=running.pruned, error=error)
        result = patiently(lambda: self.study.tell(dataclasses.replace(ended, lost=lost)))
        self.progressed = True
        if result.state.is_finished:  # a member of a population goes on in its next generation
            self._events.trial_ended(result)
        return result

    def _check_lock(self) -> None:
        if self.fault is None and not patiently(self._is_ours):
            name = self.study.spec.name
            self.fault = SweepLocked(f"another driver has taken the sweep {name!r} over.")
            self.drain(str(self.fault))

    def _count(self, signature: str, result: TrialResult) -> None:
        """Stop the sweep when the same error comes again and again."""
        if self._same_error[-1:] != [signature]:
            self._same_error.clear()
        self._same_error.append(signature)
        if len(self._same_error) >= self.limits.same_error:
            count = len(self._same_error)
            self.drain(f"{count} trials in a row failed with the same error: {result.error}")
