"""The memory of a sweep: an Optuna study, and the only thing that says which trial is next.

One driver (which holds `SweepLock`) asks, reports and tells; any process may look, and steer
(extend, enqueue, pause, stop). A trial is known by its number; one that is found RUNNING when a
driver begins is an orphan, and is handed out before anything else.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from s4core.train.report import EpochReport

from . import budgets, continuing, record, seeding
from .errors import Exhausted, StudyError
from .files import read_json, write_json, write_text
from .hints import hint
from .home import existing_sweep, sweep_folder
from .ledger import Ledger
from .population import population_of
from .proposals import Proposals
from .pruners import pruner_of
from .settling import settle
from .spec import SweepSpec
from .storage import drop_stale_lock
from .tally import Tally
from .types import PAUSED, Finished, SweepResult, TrialResult, TrialSpec, TrialState, Waiting


class Study:
    """One sweep's study; made by `create` or `open`."""

    def __init__(self, spec: SweepSpec, folder: Path, home: Path, *, is_new: bool = False) -> None:
        self.spec = spec
        self.folder = folder
        self.home = home
        self.ledger = Ledger(spec, folder, is_new=is_new)
        self._issued: set[int] = set()
        self._cut: set[int] = set()  # stopped for want of hours
        self._tally = Tally(self.ledger)
        self._tally.look()
        self._seconds = budgets.Seconds(list(self._tally.results.values()))
        self._proposals: Proposals | None = None
        self._population = population_of(self.ledger, self.trial_folder)
        self._wall = budgets.Wall(self.ledger)

    @classmethod
    def create(cls, spec: SweepSpec, home: Path) -> Study:
        """Begin a sweep; StudyError if there is one of this name."""
        folder = sweep_folder(spec.name, home)
        if (folder / "spec.json").exists():
            raise StudyError(
                f"there is a sweep {spec.name!r} already: `{hint(f'resume {spec.name}')}` goes on "
                "with it; for a new one choose another `name`."
            )
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        (folder / "study.journal").unlink(missing_ok=True)  # of a beginning that failed
        study = cls(spec, folder, home, is_new=True)
        try:
            seeding.seed(study.ledger, home)
        except BaseException:  # a database keeps it, and the name with it
            study.ledger.storage.delete_study(study.ledger.study_id)
            raise
        write_text(folder / "sweep.yaml", spec.text)
        write_json(folder / "spec.json", spec.to_json())  # last: it makes the sweep exist
        return study

    @classmethod
    def open(cls, name: str, home: Path) -> Study:
        """Open a sweep; StudyError with the nearest name if there is none."""
        folder = existing_sweep(name, home)
        return cls(SweepSpec.kept_in(folder), folder, home)

    def trial_folder(self, number: int) -> Path:
        """Give the folder of a trial."""
        return self.folder / "trials" / f"{number:04d}"

    # The driver's side -------------------------------------------------------------------------

    def recover(self) -> None:
        """Take the study over from a driver that is gone; to be called with `SweepLock` held."""
        if self.spec.storage is None:
            drop_stale_lock(self.folder)
        self._wall.begin()
        self._settle()

    def ask(self, only: int | None = None) -> TrialSpec | Waiting | Finished:
        """Say what to run next: what was reopened, then orphans, enqueued trials, new proposals.

        only: this trial, which was reopened, and no other.
        """
        trials, attrs = self._tally.look(), self.ledger.attrs()
        if attrs.get(record.PAUSED):
            return PAUSED
        again = record.reopened(attrs) - self._issued
        if only is not None:
            if only in again:
                return self._issue(trials[only], alone=True)
            return self._finished(f"only trial {only} was asked for")
        reason = budgets.spent(self.ledger, self._tally, self._wall.seconds, self._seconds.total)
        if not again and self._population is None:
            again = self._tally.running - self._issued
        if again:
            return self._issue(trials[min(again)])
        if self._population is not None:
            member = self._population.ready(self._issued, is_complete=reason is not None)
            if member is not None:
                return self._issue(member)
        failed = budgets.failed(self.ledger, self._tally)
        if failed is not None:
            return self._over(failed)
        hours = budgets.hours_spent(self.ledger, self._wall.seconds, self._seconds.total)
        for number in sorted(self._tally.waiting) if hours is None else ():
            started = self._proposer().start(self.ledger, trials[number])
            if started is not None:
                return self._issue(started)
        if reason is None:
            try:
                return self._issue(self._proposer().add(self.ledger, self._tally))
            except Exhausted as end:
                reason = str(end)
        return self._over(reason)

    def report(self, number: int, report: EpochReport) -> bool:
        """Take one epoch in; True if the trial is to be stopped now.

        An epoch that is known changes nothing, so that a restarted trial may say all again.
        """
        self._wall.note()
        metric = self.spec.objective.metric
        if metric not in report.metrics:
            known = ", ".join(sorted(m for m in report.metrics if m.startswith("val/")))
            raise StudyError(f"objective.metric: trials report no {metric!r}; there are {known}.")
        trial = self.ledger.trial(number)
        if trial.state is not OptunaState.RUNNING:  # continued after its end
            return self.ledger.attrs().get(record.stop_key(number)) is not None
        self._seconds.report(number, report.epoch, report.metrics.get("epoch_s", 0.0))
        last = max(trial.intermediate_values, default=0)
        if report.epoch < last:
            return False
        if report.epoch > last:
            self.ledger.storage.set_trial_intermediate_value(
                trial._trial_id, report.epoch, report.metrics[metric]
            )
            trial = self.ledger.trial(number)
        if report.stopped_by is not None:
            return False
        if self.ledger.attrs().get(record.stop_key(number)) is not None:
            return True
        if budgets.hours_spent(self.ledger, self._wall.seconds, self._seconds.total) is not None:
            self._cut.add(number)
            return True
        is_judged = record.REPLICATE_OF not in trial.user_attrs and self._population is None
        if not is_judged or len(self.spec.objectives) > 1:
            return False
        return bool(self.pruner.prune(self.ledger.optuna, trial))

    def tell(self, result: TrialResult) -> TrialResult:
        """Keep how a trial ended; idempotent. Gives the result as it was kept, or the failure.

        A trial that fails while it is continued keeps the result that it had.
        """
        trial = self.ledger.trial(result.number)
        attrs = trial.user_attrs
        is_cut = result.state is TrialState.PRUNED and result.number in self._cut
        kept = dataclasses.replace(
            result,
            state=TrialState.CUT if is_cut else result.state,
            params=attrs.get(record.PARAMS, result.params),
            label=attrs.get(record.LABEL),
            replicate_of=attrs.get(record.REPLICATE_OF),
            ended=result.ended or time.time(),
        )
        self._issued.discard(result.number)
        members = self._population if record.RESULT not in attrs else None
        if members is not None and members.ended(trial, kept):
            return dataclasses.replace(kept, state=TrialState.WAITING)
        if record.RESULT not in attrs:
            self.ledger.set_trial(trial, record.RESULT, kept.to_json())
            self._seconds.end(kept)
        elif self.ledger.attrs().get(record.epochs_key(result.number)) is not None:
            continuing.close(self.ledger, trial, kept)
        self._settle()
        self._wall.note()
        final = self.ledger.result(result.number)
        write_json(self.trial_folder(final.number) / "result.json", final.to_json())
        return kept if kept.state is TrialState.FAILED else final

    def release(self, number: int) -> None:
        """Hand a trial back because its worker is lost: `ask` will give it out again."""
        self._issued.discard(number)

    @functools.cached_property
    def pruner(self) -> BasePruner:
        """The pruner of the spec."""
        return pruner_of(self.spec)

    # Steering, from any process ----------------------------------------------------------------

    @property
    def target(self) -> int:
        """How many trials the sweep is to have (extend raises it)."""
        return int(self.ledger.attrs().get(record.TARGET, self.spec.search.trials))

    def extend(self, trials: int) -> int:
        """Ask for so many trials more; gives the new target."""
        target = self.target + trials
        if target < 1:
            raise StudyError(f"{trials:+d} trials would leave {target}; need at least 1.")
        self.ledger.set(record.TARGET, target)
        write_json(self.folder / record.TARGET_FILE, target)
        return target

    @property
    def paused(self) -> bool:
        """Whether nothing is to be started for now; what runs goes on to its end."""
        return bool(self.ledger.attrs().get(record.PAUSED, False))

    @paused.setter
    def paused(self, value: bool) -> None:
        self.ledger.set(record.PAUSED, value)
        write_json(self.folder / record.PAUSED_FILE, value)

    def stop_trial(self, number: int) -> None:
        """Have one trial stopped after the epoch in hand; it counts as pruned."""
        if self.ledger.result(number).state.is_finished:
            raise StudyError(f"trial {number} has ended already.")
        self.ledger.set(record.stop_key(number), True)

    def enqueue(self, values: Mapping[str, Any], *, label: str = "enqueued") -> None:
        """Have a configuration run next: parameters by dotted path; the rest is sampled."""
        seeding.enqueue(self.ledger, values, label=label)

    def enqueue_preset(self, name: str) -> None:
        """Have a published experiment run next, on the data of this sweep."""
        seeding.enqueue_preset(self.ledger, name)

    def reopen(self, number: int, *, epochs: int) -> TrialSpec:
        """Have a finished trial continued to so many epochs in all; `ask` hands it out first."""
        continuing.reopen(self.ledger, number, epochs=epochs, folder=self.trial_folder(number))
        return self.trial_spec(number)

    # Looking -----------------------------------------------------------------------------------

    def trial_spec(self, number: int) -> TrialSpec:
        """Give what `run_trial` was (or will be) told."""
        return record.trial_spec(self.spec, self.ledger.trial(number), self.ledger.attrs())

    def result(self) -> SweepResult:
        """Say how the sweep stands."""
        return self.ledger.results()

    def best(self) -> TrialResult | None:
        """Give the best trial so far."""
        return self.result().best

    # Inside ------------------------------------------------------------------------------------

    def _issue(self, trial: FrozenTrial, *, alone: bool = False) -> TrialSpec:
        self._issued.add(trial.number)
        if not alone and read_json(self.folder / record.ENDED_FILE) is not None:
            write_json(self.folder / record.ENDED_FILE, None)
        if self._population is not None and record.is_running(trial):
            return self._population.spec(trial)
        return record.trial_spec(self.spec, trial, self.ledger.attrs())

    def _finished(self, reason: str) -> Waiting | Finished:
        if self._issued:
            return Waiting(f"{reason}; {len(self._issued)} still running")
        return Finished(reason)

    def _over(self, reason: str) -> Waiting | Finished:
        """Finish, and write down for who looks at files alone that nothing is left to do."""
        finished = self._finished(reason)
        if isinstance(finished, Finished):
            write_json(self.folder / record.ENDED_FILE, {"reason": reason, "target": self.target})
        return finished

    def _settle(self) -> None:
        trials = self._tally.look()
        ended = [trials[number] for number in sorted(self._tally.ended)]
        for changed in settle(self.ledger, ended, self._proposer().sampler):
            path = self.trial_folder(changed.number) / "result.json"
            write_json(path, changed.to_json())

    def _proposer(self) -> Proposals:
        if self._proposals is None:
            drawn = len(self.ledger.trials())
            self._proposals = Proposals(self.spec, self.ledger.storage, drawn=drawn)
        return self._proposals
