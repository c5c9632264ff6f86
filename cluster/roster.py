"""What the adapters of Ray Tune share: which of Tune's trials is which crew of the study's.

The study decides everything that must outlive this process; the roster only remembers what is
running now, when to stop issuing, and why.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

from cluster.live import Show
from cluster.outages import patiently
from cluster.packing import Packing
from cluster.worker import Failure, Job, Words
from s4core.train.report import EpochReport
from sweeps import Finished, SweepError, SweepLocked, Waiting
from sweeps.crew import Crew, Crews
from sweeps.hints import hint
from sweeps.types import PAUSED, TrialResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a sweep or a trial early.

    at_once: says how many trials may be out now. same_error: failures in a row with the same error
    that stop the sweep. losses: how often a trial is started again after it lost its worker or
    node, counted anew after each epoch that it finishes.
    """

    at_once: Callable[[], int]
    same_error: int = 3
    losses: int = 10


@dataclasses.dataclass(kw_only=True)
class Running:
    """What Tune has as one of its trials: a crew (mostly of one trial), and whether at a worker."""

    crew: Crew
    started: bool = False


class Roster:
    """Issues trials out of the study and takes in what becomes of them; one per attempt."""

    def __init__(
        self,
        crews: Crews,
        events: Show,
        *,
        job: Callable[..., Job],
        limits: Limits,
        is_ours: Callable[[], bool],
        packing: Packing | None = None,
    ) -> None:
        """job: makes the Job of a crew from its `specs` and `folders`; is_ours: the lock is held.

        packing: is told what trials measure; when it finds other shares, the roster drains.

        A driver that stood still (SIGSTOP, a laptop's lid) may wake up when another one has taken
        the sweep over: it then writes nothing more.
        """
        self._is_ours = is_ours
        self.crews = crews
        self.study = crews.study
        self.limits = limits
        self.stop_reason: str | None = None
        self.fault: SweepError | None = None
        self.progressed = False
        self.has_new_shares = False
        self._packing = packing
        self._job = job
        self._events = events
        self._running: dict[str, Running] = {}
        self._begun: set[int] = set()  # trials of which the watchers know that they run
        self._draining = False
        self._is_paused = False
        self._same_error: list[str] = []
        self._signatures: dict[int, str] = {}  # of the failures of trials
        self._losses: Counter[int] = Counter()  # of workers, since the last epoch of a trial

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
        crew = patiently(self.crews.next)
        self._note_pause(crew == PAUSED)
        if not isinstance(crew, Crew):
            return crew
        self._running[tune_id] = Running(crew=crew)
        return self._job(specs=crew.specs, folders=tuple(map(str, crew.folders)))

    def started(self, tune_id: str) -> None:
        """A worker has the crew (again, after a loss)."""
        running = self._running[tune_id]
        running.started = True
        for spec in running.crew.specs:
            if spec.number not in self._begun:
                self._begun.add(spec.number)
                self._events.trial_started(spec)

    def heard(self, tune_id: str, said: Words) -> bool:
        """Take in what the crew says after an epoch; True when it has to stop now."""
        crew = self._running[tune_id].crew
        self._check_lock()
        for number, word in said:
            if self.fault is not None:
                return True
            if isinstance(word, Failure):
                crew.fail(number, word.error)
                self._signatures[number] = word.signature
            else:
                self._reported(crew, number, word)
        return bool(crew.ended) or self._draining

    def ended(self, tune_id: str, failure: Failure | None = None) -> None:
        """Tune is done with the crew; who was only stopped stays RUNNING, for the next to ask.

        Its last words, if it had any, have been given to `heard` before. failure: of the whole.
        """
        crew = self._running.pop(tune_id).crew
        self._check_lock()
        if self.fault is not None:
            return
        (first, *others) = crew.specs
        if failure is not None and others:
            self._events.note(f"{len(crew.specs)} trials go on apart: {failure.error}")
            self.crews.broke(crew, failure.kind)
        elif failure is not None and self._packing and self._packing.outgrown(failure.kind):
            text = f"trial {first.number} outgrew its share and is started again with more"
            self._events.note(text)
            self._share_anew()
        elif failure is not None:
            crew.fail(first.number, failure.error)
            self._signatures[first.number] = failure.signature
        results = [self._tell(result) for result in crew.results()]
        self.crews.release(crew)
        self._count(results)

    def given_up(self, tune_id: str) -> None:
        """Tune starts the crew no more: FAILED after too many losses, but no error of its own.

        Of several, whoever kills his workers will do so alone. Tune gives up at once when a worker
        dies that is just taking up its next trial: that trial is issued again.
        """
        crew = self._running.pop(tune_id).crew
        self._check_lock()
        if self.fault is not None:
            return
        losses = self._count_loss(crew)
        error = f"lost its worker or node {losses} times in a row within one epoch"
        if losses <= self.limits.losses:
            self._tell_lost(crew, "it died between two trials")
        elif len(crew.specs) > 1:
            self._events.note(f"{len(crew.specs)} trials go on apart: their crew {error}")
            self.crews.broke(crew, "lost")
            self._losses.clear()
        else:
            crew.fail(crew.specs[0].number, error)
        for result in crew.results():
            self._tell(dataclasses.replace(result, lost=result.error == error))
        self.crews.release(crew)

    def abandon(self) -> None:
        """Give back to the study what is out: Tune has broken, and its workers are gone with it."""
        for running in self._running.values():
            self.crews.release(running.crew)
        self._running.clear()

    def lost(self, tune_id: str, reason: str) -> None:
        """The crew's worker or node is gone, and Tune starts it again."""
        running = self._running[tune_id]
        running.started = False
        self._count_loss(running.crew)
        self._tell_lost(running.crew, reason)

    def _count_loss(self, crew: Crew) -> int:
        """Add one; gives how often a member has lost its worker since its last epoch, at most."""
        self._losses.update(crew.unfinished)
        return max((self._losses[number] for number in crew.unfinished), default=0)

    def _tell_lost(self, crew: Crew, reason: str) -> None:
        for number in crew.unfinished:
            self._begun.discard(number)
            self._events.note(
                f"trial {number} lost its worker after epoch {crew.epochs(number)} "
                f"and is started again: {reason}"
            )

    def _note_pause(self, is_paused: bool) -> None:
        if is_paused and not self._is_paused:
            again = f"`{hint(f'resume {self.study.spec.name}')}` lifts it"
            self._events.note(f"paused: nothing new is started, what runs goes on ({again})")
        elif self._is_paused and not is_paused:
            self._events.note("no longer paused")
        self._is_paused = is_paused

    def _reported(self, crew: Crew, number: int, report: EpochReport) -> None:
        try:
            is_news = patiently(lambda: crew.report(number, report))
        except SweepError as error:  # the user's mistake: no trial can do better
            self.fault = error
            self.drain(str(error))
            return
        if is_news:
            self.progressed = True
            del self._losses[number]
            self._events.trial_reported(number, report)
            if self._packing is not None and self._packing.measured(report):
                self._share_anew()

    def _share_anew(self) -> None:
        self.has_new_shares = True
        self.drain()

    def _tell(self, ended: TrialResult) -> TrialResult:
        result = patiently(lambda: self.study.tell(ended))
        self.progressed = True
        self._begun.discard(result.number)
        if result.state.is_finished:  # a member of a population goes on in its next generation
            self._events.trial_ended(result)
        return result

    def _check_lock(self) -> None:
        if self.fault is None and not patiently(self._is_ours):
            name = self.study.spec.name
            self.fault = SweepLocked(f"another driver has taken the sweep {name!r} over.")
            self.drain(str(self.fault))

    def _count(self, results: list[TrialResult]) -> None:
        """Stop the sweep when the same error comes again and again; once a crew."""
        failures: dict[str, TrialResult] = {}
        for result in results:
            signature = self._signatures.pop(result.number, None)
            if signature is None:
                self._same_error.clear()
            else:
                failures[signature] = result
        for signature, result in failures.items():
            if self._same_error[-1:] != [signature]:
                self._same_error.clear()
            self._same_error.append(signature)
            if len(self._same_error) >= self.limits.same_error:
                count = len(self._same_error)
                self.drain(f"{count} trials in a row failed with the same error: {result.error}")
