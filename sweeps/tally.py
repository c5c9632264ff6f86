"""What is asked of all trials whenever one starts or ends, without a look at all of them each time.

Optuna's storages let nobody change a trial that they have as finished, so it is looked at once; a
look costs what is new or unfinished, however large the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from . import record
from .ledger import Ledger
from .types import TrialResult, TrialState


class Tally:
    """Sums over the trials of a study; `look` brings them up to date.

    known: how many there are; open: those that Optuna has not finished, by number; prints: the
    fingerprints of all.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.known = 0
        self.open: list[FrozenTrial] = []
        self.prints: set[str] = set()
        self._ledger = ledger
        self._finished: list[TrialResult] = []
        self._failed: list[TrialResult] = []
        self._counted = 0

    def look(self) -> Sequence[FrozenTrial]:
        """Take in what has changed; gives all trials by number."""
        trials = self._ledger.trials()
        fresh = [*(trials[t.number] for t in self.open), *trials[self.known :]]
        self.known = len(trials)
        self.open = [t for t in fresh if not t.state.is_finished()]
        over = [t for t in fresh if t.state.is_finished()]
        self.prints.update(t.user_attrs.get(record.PRINT, "") for t in fresh)
        self._counted += sum(map(_counts, over))
        self._finished += (ended := _results(over))
        self._failed += _failed(ended)
        return trials

    @property
    def counted(self) -> int:
        """How many trials use up one of the target."""
        return self._counted + sum(map(_counts, self.open))

    @property
    def results(self) -> list[TrialResult]:
        """How the trials ended that have, in no order."""
        return [*self._finished, *_results(self.open)]

    @property
    def failed(self) -> list[TrialResult]:
        """Those that failed."""
        return [*self._failed, *_failed(_results(self.open))]


def _counts(trial: FrozenTrial) -> bool:
    """Not: repeats, failures, what was learned from another sweep."""
    attrs = trial.user_attrs
    if record.REPLICATE_OF in attrs or record.IMPORTED in attrs:
        return False
    if record.RESULT in attrs:
        return bool(attrs[record.RESULT]["state"] != TrialState.FAILED.value)
    return trial.state in (OptunaState.RUNNING, OptunaState.WAITING)


def _results(trials: Sequence[FrozenTrial]) -> list[TrialResult]:
    ended = [t.user_attrs[record.RESULT] for t in trials if record.RESULT in t.user_attrs]
    return [TrialResult.from_json(data) for data in ended]


def _failed(results: Sequence[TrialResult]) -> list[TrialResult]:
    return [r for r in results if r.state is TrialState.FAILED]
